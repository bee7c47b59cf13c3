"""The page around a report: HTML and style, without any outside request."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main></body></html>
"""

STYLE = """
:root { --ink: #22262b; --faint: #5d6671; --line: #e3e6ea; --accent: #2d6a9f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fbfbfa; color: var(--ink);
  font: 16px/1.55 system-ui, "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 4rem; }
h1, h2 { font-family: Charter, "Iowan Old Style", Georgia, "Liberation Serif", serif; font-weight: 600;
  line-height: 1.2; }
h1 { font-size: 2.3rem; margin: .2rem 0 .8rem; }
h2 { font-size: 1.35rem; margin: 0 0 .9rem; }
.kicker { margin: 0; color: var(--accent); font-size: .85rem; letter-spacing: .04em; }
.lead { max-width: 42rem; font-size: 1.1rem; color: var(--faint); margin: 0 0 1.8rem; }
section, footer { margin-top: 3rem; padding-top: 1.6rem; border-top: 1px solid var(--line); }
dl { margin: 0; } dt { color: var(--faint); font-size: .82rem; } dd { margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem 2rem; }
.facts dd { font-size: 1.15rem; font-weight: 600; }
figure { margin: 0; } img { display: block; width: 100%; height: auto; }
.caption { max-width: 46rem; margin: .9rem 0 0; color: var(--faint); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .4rem; text-align: right; white-space: nowrap; }
thead th { color: var(--faint); font-weight: 500; } thead tr:first-child th.group { text-align: left; }
thead tr:last-child th { border-bottom: 1px solid var(--ink); }
th[rowspan] { text-align: left; vertical-align: bottom; border-bottom: 1px solid var(--ink); }
tbody th { text-align: left; font-weight: 500; } tbody tr + tr > * { border-top: 1px solid var(--line); }
tr.reference > * { font-style: italic; color: var(--faint); }
tbody i { display: inline-block; width: .7rem; height: .7rem; margin-right: .55rem; border-radius: 2px; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); padding: .3rem 0; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.6rem 0 .5rem; }
.map th, td.won { text-align: left; } td.won { line-height: 1.25; border-left: 2px solid #fff; }
td.won small { color: var(--faint); }
.foreign th, .foreign td { color: var(--faint); font-style: italic; }
.group { padding-left: 1.1rem; } .best { font-weight: 700; } .time { color: var(--faint); }
.provenance div { display: grid; grid-template-columns: 11rem 1fr; gap: 1rem; padding: .3rem 0; }
.provenance dd { overflow-wrap: anywhere; font-size: .9rem; }
@media print { body { background: #fff; font-size: 12px; } main { max-width: none; padding: 0; }
  section { break-inside: avoid; margin-top: 1.6rem; } .wide { overflow: visible; } th, td { padding: .25rem .3rem; }
  .group { padding-left: .7rem; } }
"""
