"""config.lines: where each key stands, in every way TOML can be written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.lines import lines_of

SOURCE = '''\
# comment = 1
top = 1
"quoted key" = 2 # [not.a.table]
[a]
x = "]] not = a ' key" # "
y = [ 1,
  2, # two
  { in = 3 },
]
text = """
z = 5
[b]
"""
'single' = \'\'\'
w = 1\'\'\'
[[c]]
n = 1
[c.d]
deep.er = { p = 1, q = [ "}", "," ] }
[[c]]
n = 2
[[c.e]]
m = 1
[[c.e]]
m = 2
'''


def test_each_key_has_its_line() -> None:
    lines = lines_of(SOURCE)
    assert {key: line for key, line in lines.items() if len(key) <= 3} == {
        ("top",): 2,
        ("quoted key",): 3,
        ("a",): 4,
        ("a", "x"): 5,
        ("a", "y"): 6,
        ("a", "y", 0): 6,
        ("a", "y", 1): 7,
        ("a", "y", 2): 8,
        ("a", "text"): 10,
        ("a", "single"): 14,
        ("c",): 16,
        ("c", 0): 16,
        ("c", 0, "n"): 17,
        ("c", 0, "d"): 18,
        ("c", 1): 20,
        ("c", 1, "n"): 21,
        ("c", 1, "e"): 22,
    }
    assert lines["a", "y", 2, "in"] == 8
    assert lines["c", 0, "d", "deep", "er", "q", 1] == 19
    assert lines["c", 1, "e", 1, "m"] == 25


@given(st.text(alphabet="ab=[]{}\"'#,.\\ \n1", max_size=60))
def test_it_ends_on_any_text(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 2 for line in lines_of(text).values())
