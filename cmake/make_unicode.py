# Writes the Unicode tables of include/depthgrow/io/tokenizers: python3 cmake/make_unicode.py [ROOT]
# The truth is the tokenizers library (pip install tokenizers==0.23.3), asked about every code point, because its parts
# are of different Unicode versions: patterns 16.0, Digits 17.0, NFC 9.0. Python's unicodedata supplies what it can be
# asked only indirectly (decompositions, combining classes), and is the check: what differs from it beyond its age is
# an error.
# With --check nothing is written; the exit status says whether the tables are those of the installed library.
import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

NAMES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODES))


def members(pattern):
    """Code points that one of the library's patterns matches."""
    found = set()
    for _, (begin, end) in pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(TEXT):
        found.update(CODES[begin:end])
    return found


def runs(values):
    out = []
    for value in sorted(values):
        if out and out[-1][1] == value:
            out[-1][1] += 1
        else:
            out.append([value, value + 1])
    return out


def literal(name, comment, pieces):
    """A string constant in lines of at most 120 columns."""
    lines, line = [], ""
    for piece in pieces:
        if len(line) + len(piece) > 110:
            lines.append(line)
            line = ""
        line += piece
    lines.append(line)
    body = "\n".join(f'    "{one}"' for one in lines)
    return f"{comment}\ninline constexpr std::string_view {name} =\n{body};\n"


def header(path, opening, body):
    text = (
        opening
        + "#pragma once\n\n#include <string_view>\n\nnamespace depthgrow::detail {\n\n"
        + "\n".join(body)
        + "\n}  // namespace depthgrow::detail\n"
    )
    if "--check" in sys.argv:
        if path.read_text() != text:
            sys.exit(f"{path}: expected the tables of tokenizers {tokenizers.__version__}, found others")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def categories():
    of = {c: "Cs" for c in range(0xD800, 0xE000)}
    for name in NAMES:
        if name not in ("Cs", "Cn"):
            for code in members(r"\p{%s}" % name):
                assert code not in of
                of[code] = name
    table = [of.get(code, "Cn") for code in range(0x110000)]
    changed = [c for c in CODES if unicodedata.category(chr(c)) not in ("Cn", table[c])]
    assert len(changed) < 40, changed  # a few characters have changed category since
    pieces, begin = [], 0
    for code in range(1, 0x110001):
        if code == 0x110000 or table[code] != table[begin]:
            pieces.append(LETTERS[NAMES.index(table[begin])] + (str(code - begin) if code - begin > 1 else ""))
            begin = code
    return table, pieces


def check_derived(table):
    """What the C++ derives from the categories: white space, and the word characters of single_word."""
    assert members(r"\s") == {c for c in CODES if table[c] in ("Zs", "Zl", "Zp")} | set(range(9, 14)) | {0x85}
    words = {c for c in CODES if table[c][0] in "LM" or table[c] in ("Nd", "Nl", "Pc")} | {0x200C, 0x200D}
    for begin, end in ((0x24B6, 0x24EA), (0x1F130, 0x1F14A), (0x1F150, 0x1F16A), (0x1F170, 0x1F18A)):
        words.update(range(begin, end))
    asked = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    asked.add_tokens([AddedToken("xyzzy", single_word=True, normalized=False)])
    for first in range(0, len(CODES), 4000):
        part = CODES[first : first + 4000]
        alone = {begin for begin, _ in asked.encode("".join("\n" + chr(c) + "xyzzy" for c in part)).offsets}
        for i, code in enumerate(part):
            assert (7 * i + 2 not in alone) == (code in words), hex(code)


def digits_beyond(table):
    """Digits follows a newer Unicode than patterns do: what it knows beyond category N."""
    by_pattern = [c for c in CODES if table[c][0] == "N"]
    ask = pre_tokenizers.Digits(individual_digits=True)
    assert len(ask.pre_tokenize_str("".join(map(chr, by_pattern)))) == len(by_pattern)
    return runs(c for c in CODES if table[c][0] != "N" and len(ask.pre_tokenize_str("a" + chr(c) + "a")) == 3)


def normalization():
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    pieces, expected = [], 0
    for code in CODES:
        mapping = unicodedata.decomposition(chr(code))
        if not mapping or mapping[0] == "<" or nfd(chr(code)) == chr(code):
            continue
        assert nfd(chr(code)) == unicodedata.normalize("NFD", chr(code))
        parts = mapping.split()
        entry = "" if code == expected else f"{code:x}="
        entry += ".".join(part.lstrip("0").lower() for part in parts)
        if len(parts) == 2 and nfc("".join(chr(int(part, 16)) for part in parts)) != chr(code):
            entry += "!"
        pieces.append(entry + " ")
        expected = code + 1
    marks = {}
    for code in CODES:
        value = unicodedata.combining(chr(code))
        other = chr(code) + "\u0334" if value != 1 else "\u0301" + chr(code)
        if value and nfd(other) != other:
            marks.setdefault(value, set()).add(code)
    combining = []
    for value in sorted(marks):
        combining.append(f"{value}=")
        combining += [
            f"{begin:x}{'+' + str(end - begin) if end - begin > 1 else ''} " for begin, end in runs(marks[value])
        ]
    return pieces, combining


def main():
    root = pathlib.Path(next((a for a in sys.argv[1:] if a[0] != "-"), pathlib.Path(__file__).parent.parent))
    folder = root / "include/depthgrow/io/tokenizers"
    version = tokenizers.__version__
    table, pieces = categories()
    check_derived(table)
    digits = digits_beyond(table)
    header(
        folder / "unicode_tables.hpp",
        "// Generated by cmake/make_unicode.py: the general category of every code point, as patterns see it.\n"
        "// Assumes that it is read through unicode.hpp, which unpacks it. Of Unicode 16.0; digits of 17.0 beside it.\n"
        f"// Source: the tokenizers library {version}, asked about all 1,114,112 code points; format below.\n",
        [
            literal(
                "category_runs",
                "// A letter for the category, in the order of `unicode_category`, and the length of its run unless it"
                " is 1.",
                pieces,
            ),
            literal(
                "digits_beyond_category",
                "// What the Digits pre-tokenizer counts as numbers beyond category N: begin-end, hexadecimal, the end"
                " not included.",
                [f"{begin:x}-{end:x} " for begin, end in digits],
            ),
        ],
    )
    decompositions, combining = normalization()
    header(
        folder / "normalization_tables.hpp",
        "// Generated by cmake/make_unicode.py: canonical decompositions and combining classes for NFC.\n// Assumes"
        " that it is read through nfc.hpp, which unpacks it; Hangul is computed there. Of Unicode 9.0.\n// Source: the"
        f" tokenizers library {version}, which is of that version, and Python's unicodedata; formats below.\n",
        [
            literal(
                "decompositions",
                "// CODE=FIRST.SECOND, hexadecimal; CODE= is left out when it is the next one; ! after what is not"
                " composed again.",
                decompositions,
            ),
            literal(
                "combining_classes",
                "// CLASS= in decimal, then its code points: BEGIN or BEGIN+COUNT, hexadecimal and decimal.",
                combining,
            ),
        ],
    )


main()
