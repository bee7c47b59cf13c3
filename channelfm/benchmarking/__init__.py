"""One suite for every task: estimators x sets x cases -> one honest table, its figures, and a report.

``channelfm.benchmark`` is the verb; the folder has another name, since importing a folder would take the verb's place.
"""
