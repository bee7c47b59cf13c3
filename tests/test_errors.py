import pickle

from channelfm.errors import LONGEST_MESSAGE, InputError


def test_messages_are_one_line_whose_ends_are_kept():
    assert str(InputError("a.yaml: seed: give a number")) == "a.yaml: seed: give a number"
    assert str(InputError("line one\n  line two\0\x1b[31m")) == "line one line two [31m"
    told = str(InputError(f"a.yaml: '{'[' * 40_000}' is no number; give one"))
    assert len(told) <= LONGEST_MESSAGE
    assert told.startswith("a.yaml: '[[[")
    assert told.endswith("[[[' is no number; give one")


def test_errors_come_back_from_other_processes():
    error = pickle.loads(pickle.dumps(InputError("one\ntwo")))
    assert isinstance(error, InputError)
    assert str(error) == "one two"
