# Our tokenizer beside the tokenizers library: a vocabulary of each style is trained there, mixed lines go through both.
#   python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 && ninja -C build run_tokenizer
#   venv/bin/python tests/real_model/tokenizer_styles.py build/tests/run_tokenizer [--lines 10000] [--style llama3]
# With --fixtures FOLDER it writes small vocabularies and their golden lines instead (tests/fixtures/tokenizers).
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

sys.path = [p for p in sys.path if p != str(pathlib.Path(__file__).parent)]  # this file is called like the library
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_MARKS = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ]
)
CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
LEVEL = lambda regex=True, prefix=False: pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
SPLIT = lambda pattern, behavior="isolated", invert=False: pre_tokenizers.Split(Regex(pattern), behavior, invert)
SIGN = "\u2581"


def byte_level(made, steps, normalizer=None, special=("<|endoftext|>",), leading=None, **flags):
    made.train("byte", steps, normalizer, special, **flags)
    made.tokenizer.decoder = decoders.ByteLevel()
    made.tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if leading:
        template = processors.TemplateProcessing(
            single=f"{leading} $A",
            pair=f"{leading} $A {leading} $B",
            special_tokens=[(leading, made.tokenizer.token_to_id(leading))],
        )
        made.tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])


def sentencepiece(made, steps, normalizer, decoder, leading="<s>", **flags):
    made.train("text", steps, normalizer, ("<unk>", "<s>", "</s>"), **{"unk_token": "<unk>", **flags})
    made.tokenizer.decoder = decoder
    made.tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{leading} $A </s>" if leading == "<s>" else "$A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )


def llama2_decoder():
    return decoders.Sequence(
        [decoders.Replace(SIGN, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def added_zoo(made):
    byte_level(made, LEVEL(), normalizers.NFC())
    made.tokenizer.add_tokens(
        [
            AddedToken("abc", normalized=True),
            AddedToken("cde", normalized=False),
            AddedToken("<l>", lstrip=True, normalized=False),
            AddedToken("<r>", rstrip=True, normalized=True),
            AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("wőrd", single_word=True, normalized=True),
            AddedToken("o\u030bt\u0151n", normalized=True),
            AddedToken("    ", normalized=False),
            AddedToken("<|", normalized=False),
            AddedToken("<|im", normalized=False),
            AddedToken("<|im_start|>", normalized=False, special=True),
            AddedToken("東京", normalized=False, single_word=True),
        ]
    )


def added_latin(made):
    """Letters of the byte alphabet: that library decodes such tokens to other bytes, and loses them; see KEPT."""
    byte_level(made, LEVEL(), normalizers.NFC())
    made.tokenizer.add_tokens(
        [
            AddedToken("wörd", single_word=True, normalized=False),
            AddedToken("<|début|>", special=True, normalized=False),
            AddedToken("Ċthe", normalized=False),
        ]
    )


def zoo_of_splits(made):
    byte_level(
        made,
        pre_tokenizers.Sequence(
            [
                SPLIT(r"\p{Lu}+", "merged_with_next"),
                SPLIT(r"\p{P}", "merged_with_previous"),
                pre_tokenizers.Split("th", "contiguous"),
                SPLIT(r"\p{S}+", "contiguous", True),
                SPLIT(r"\t|\p{Zl}", "removed"),
                LEVEL(False),
            ]
        ),
    )


STYLES = {
    "gpt2": lambda m: byte_level(m, LEVEL()),
    "gpt2_prefix": lambda m: byte_level(m, LEVEL(True, True)),
    "neox": lambda m: (
        byte_level(m, LEVEL(), normalizers.NFC()),
        m.tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]),
    ),
    "smollm": lambda m: byte_level(m, pre_tokenizers.Sequence([pre_tokenizers.Digits(True), LEVEL()])),
    "digit_runs": lambda m: byte_level(m, pre_tokenizers.Sequence([pre_tokenizers.Digits(False), LEVEL()])),
    "digits_3": lambda m: byte_level(m, pre_tokenizers.Sequence([SPLIT(r"\p{N}{1,3}"), LEVEL()])),
    "llama3": lambda m: byte_level(
        m,
        pre_tokenizers.Sequence([SPLIT(LLAMA3), LEVEL(False)]),
        special=("<|begin_of_text|>", "<|endoftext|>"),
        leading="<|begin_of_text|>",
        ignore_merges=True,
    ),
    "olmo2": lambda m: byte_level(m, pre_tokenizers.Sequence([SPLIT(LLAMA3, "removed", True), LEVEL(False)])),
    "gpt4": lambda m: byte_level(m, pre_tokenizers.Sequence([SPLIT(CL100K, "removed", True), LEVEL(False)])),
    "gpt4o": lambda m: byte_level(m, pre_tokenizers.Sequence([SPLIT(O200K, "removed", True), LEVEL(False)])),
    "qwen": lambda m: byte_level(
        m,
        pre_tokenizers.Sequence([SPLIT(QWEN), LEVEL(False)]),
        normalizers.NFC(),
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    ),
    "qwen_marks": lambda m: byte_level(
        m, pre_tokenizers.Sequence([SPLIT(QWEN_MARKS), LEVEL(False)]), normalizers.NFC()
    ),
    "deepseek": lambda m: byte_level(
        m, pre_tokenizers.Sequence([SPLIT(r"\p{N}{1,3}"), SPLIT(CJK), SPLIT(DEEPSEEK), LEVEL(False)])
    ),
    "added": added_zoo,
    "added_latin": added_latin,
    "splits": zoo_of_splits,
    "llama2": lambda m: sentencepiece(
        m,
        None,
        normalizers.Sequence([normalizers.Prepend(SIGN), normalizers.Replace(" ", SIGN)]),
        llama2_decoder(),
        byte_fallback=True,
        fuse_unk=True,
    ),
    "llama2_legacy": lambda m: (
        sentencepiece(
            m,
            None,
            normalizers.Sequence([normalizers.Prepend(SIGN), normalizers.Replace(" ", SIGN)]),
            llama2_decoder(),
            byte_fallback=True,
            fuse_unk=True,
        ),
        m.tokenizer.add_special_tokens(
            [AddedToken(one, special=True, normalized=True) for one in ("<unk>", "<s>", "</s>")]
        ),
    ),
    "mistral": lambda m: sentencepiece(
        m, pre_tokenizers.Metaspace(SIGN, "first", False), None, llama2_decoder(), byte_fallback=True, fuse_unk=True
    ),
    "metaspace": lambda m: sentencepiece(
        m, pre_tokenizers.Metaspace(SIGN, "always", True), None, decoders.Metaspace(SIGN, "always"), byte_fallback=True
    ),
    "metaspace_never": lambda m: sentencepiece(
        m,
        pre_tokenizers.Metaspace(SIGN, "never", True),
        normalizers.NFC(),
        decoders.Metaspace(SIGN, "never"),
        fuse_unk=True,
    ),
    "unknown": lambda m: sentencepiece(
        m, pre_tokenizers.Metaspace(SIGN, "first", True), None, decoders.Metaspace(SIGN, "first"), fuse_unk=False
    ),
    "gemma": lambda m: (
        sentencepiece(
            m,
            pre_tokenizers.Split(" ", "merged_with_previous"),
            normalizers.Replace(" ", SIGN),
            decoders.Sequence([decoders.Replace(SIGN, " "), decoders.ByteFallback(), decoders.Fuse()]),
            byte_fallback=True,
            fuse_unk=True,
        ),
        m.tokenizer.add_tokens([AddedToken(x * n, normalized=False) for x in ("\n", "\t", SIGN) for n in range(2, 12)]),
    ),
}
KEPT = {"added_latin"}  # ids as that library's, but the text is what was given


class Vocabulary:
    """A tokenizer of a style in the making: its vocabulary is trained on the lines."""

    def __init__(self, lines, size):
        self.lines, self.size, self.tokenizer = lines, size, None

    def train(self, kind, steps, normalizer, special, byte_fallback=False, **flags):
        trained = Tokenizer(models.BPE())
        if normalizer:
            trained.normalizer = normalizer
        trained.pre_tokenizer = steps or pre_tokenizers.Split(SIGN, "merged_with_next")
        first = list(special) + (["<0x%02X>" % byte for byte in range(256)] if byte_fallback else [])
        alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "byte" else []
        trained.train_from_iterator(
            self.lines,
            trainers.BpeTrainer(
                vocab_size=self.size + len(first),
                special_tokens=first,
                initial_alphabet=alphabet,
                show_progress=False,
                **({} if kind == "byte" else {"limit_alphabet": 120}),
            ),
        )
        model = json.loads(trained.to_str())["model"]
        merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
        self.tokenizer = Tokenizer(
            models.BPE(vocab=model["vocab"], merges=merges, byte_fallback=byte_fallback, **flags)
        )
        if normalizer:
            self.tokenizer.normalizer = normalizer
        if steps:
            self.tokenizer.pre_tokenizer = steps
        self.tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])


WORDS = """the tower that masons of old town built in years they'd seen It's WE'LL you're I'VE don't 'tis
rock'n'roll '\u017f 'S Straße façade naïve Zürich Ångström ﬁne ǅungla ʰʷ
мы видели башню старый ЁЖИК Ελλάδα ΣΊΣΥΦΟΣ שלום עולם مرحبا بالعالم نص हिन्दी में संयुक्त ไทยภาษา ภาษาไทย 東京
北京的 日本語テキスト カタカナ 한국어 각각 ᄒ\u1161ᆫ 中文 ქართული አማርኛ தமிழ் বাংলা
ᏣᎳᎩ ꙁꙁ 𝔘𝔫𝔦 𐐀𐐨 ªº Ⅻ ½ ² ٣٤٥ १२३ 五十 0 7 12 345 1907 31415926 1,000.5 0x1F 1e-9 v2.0 3rd""".split()
CODE = [
    "def f(x):\n    return x**2  # ok",
    "for (int i=0;i<n;++i) { a[i] += b->c; }",
    "<div class=\"x\">&nbsp;</div>",
    "SELECT * FROM t WHERE id = 'a''b';",
    "\tif x:\r\n\t\tpass\r\n",
    "#include <a/b.h>",
    "{\"k\": [1, 2.5e3, null]}",
    "https://ex.org/a?b=c&d=%20#e",
    "a/b/c//\n",
    "//***\n/*",
    "$x = \\frac{1}{2}$",
    "f'{x!r:>{w}}'",
    "==>  <=== ...!!!??\n\n",
]
EMOJI = ["🙂", "👩‍👩‍👧‍👦", "🇵🇱🇯🇵", "👍🏽", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "☃", "🫠🫨"]
SPACES = [
    " ",
    " ",
    " ",
    " ",
    "  ",
    "   ",
    "     ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " \n ",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u2009 ",
    "\u0085",
    "\u200b",
    "",
    "",
    "",
]
SPECIAL = [
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<unk>",
    "<0x0A>",
    "<0xe6>",
    SIGN,
    SIGN * 3,
    "Ġ",
    "Ċthe",
    "Ã©",
    "¶",
    "abcde",
    "cdeabc",
    "<l>",
    " <r> ",
    "  <lr>  ",
    "word",
    "words",
    "_word",
    "word-word",
    "wörd",
    "wo\u0308rd",
    "wőrd",
    "wo\u030brd",
    "őtőn",
    "o\u030bto\u030bn",
    "<|début|>",
    "東京",
    "京東京都",
    "<|im",
    "<|",
]
MARKS = [
    "\u0301",
    "\u0308",
    "\u0323",
    "\u0327",
    "\u0334",
    "\u0345",
    "\u05b0",
    "\u093c",
    "\u0e49",
    "\u20dd",
    "\ufe0f",
    "\u3099",
    "\u0898",
    "\u1dfa",
    "\u11a8",
]


def piece(rng):
    kind = rng.random()
    if kind < 0.45:
        word = rng.choice(WORDS)
        return rng.choice([word, word, word, word.upper(), word.title(), word[::-1]])
    if kind < 0.53:
        return rng.choice(CODE)
    if kind < 0.60:
        return rng.choice(EMOJI)
    if kind < 0.68:
        return rng.choice("aeionsuAEO가ｶ" + "각क") + "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 4)))
    if kind < 0.76:
        return rng.choice(SPECIAL)
    if kind < 0.82:
        return "".join(rng.choice("0123456789٣²Ⅻ") for _ in range(rng.randint(1, 8)))
    if kind < 0.88:
        return rng.choice("'’ʼ.,;:!?-_()[]{}/\\|@#$%^&*+=~`<>«»“”…—·、。") * rng.randint(1, 3)
    if kind < 0.93:
        return "".join(chr(code) for code in (rng.randrange(0x20, 0x3000) for _ in range(rng.randint(1, 4))))
    if kind < 0.96:
        codes = [
            rng.choice(
                [
                    rng.randrange(0x3000, 0xD800),
                    rng.randrange(0xE000, 0x110000),
                    rng.randrange(0xF900, 0xFB50),
                    rng.randrange(0x1D400, 0x1E200),
                    rng.randrange(0x10000, 0x12000),
                ]
            )
            for _ in range(3)
        ]
        return "".join(map(chr, codes))
    raw = bytearray(rng.choice(WORDS).encode() + rng.choice(EMOJI).encode())
    for _ in range(rng.randint(1, 3)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw[: rng.randint(1, len(raw))]).decode("utf-8", "replace")


def line(rng):
    return "".join(piece(rng) + rng.choice(SPACES) for _ in range(rng.randint(0, 14)))


def broken(rng):
    raw = bytearray(line(rng).encode())
    for _ in range(rng.randint(1, 6)):
        raw.insert(rng.randint(0, len(raw)), rng.randrange(256))
    return bytes(raw)


def ours(program, file, texts, *mode):
    frames = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    done = subprocess.run([program, file, *mode], input=frames, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{file}: {done.stderr.decode().strip()}")
    return [json.loads(one) for one in done.stdout.splitlines()]


def theirs(tokenizer, text):
    ids, whole = tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.encode(text).ids
    return {
        "ids": ids,
        "whole": whole,
        "text": tokenizer.decode(ids, skip_special_tokens=False),
        "plain": tokenizer.decode(whole),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--lines", type=int, default=10000)
    parser.add_argument("--style", action="append")
    parser.add_argument("--fixtures")
    parser.add_argument(
        "--file", action="append", default=[], help="a tokenizer.json of somebody's, instead of the styles"
    )
    options = parser.parse_args()
    rng = random.Random(1907)
    lines = [line(rng) for _ in range(options.lines)]
    raw = [broken(rng) for _ in range(max(1, options.lines // 5))]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.file or options.style or STYLES:
            made = Vocabulary(lines[:2000], 120 if options.fixtures else 1500)
            if options.file:
                made.tokenizer = Tokenizer.from_file(name)
            else:
                STYLES[name](made)
            if options.fixtures:
                target = pathlib.Path(options.fixtures)
                target.mkdir(parents=True, exist_ok=True)
                made.tokenizer.save(str(target / f"{name}.json"), pretty=False)
                with open(target / f"{name}.jsonl", "w") as out:
                    for text in lines[:40]:
                        out.write(json.dumps({"given": text, **theirs(made.tokenizer, text)}) + "\n")
                continue
            file = name
            if not options.file:
                file = str(pathlib.Path(folder) / f"{name}.json")
                made.tokenizer.save(file)
            different = 0
            for text, mine in zip(lines, ours(options.program, file, [text.encode() for text in lines]), strict=True):
                other = theirs(made.tokenizer, text)
                if name in KEPT:
                    other = {
                        "ids": other["ids"],
                        "whole": other["whole"],
                        "text": normalizers.NFC().normalize_str(text),
                    }
                if any(mine[key] != other[key] for key in other):
                    different += 1
                    if different <= 3:
                        print(
                            f"  {name}: {text!r}",
                            *(
                                f"\n    {key}: ours {mine[key]!r}\n    {key}: theirs {other[key]!r}"
                                for key in other
                                if mine[key] != other[key]
                            ),
                        )
            kept = sum(one["same"] for one in ours(options.program, file, raw))
            size = made.tokenizer.get_vocab_size()
            drawn = [[rng.randrange(size) for _ in range(rng.randint(0, 12))] for _ in raw]
            decoded = (
                0
                if name in KEPT
                else sum(
                    mine != {
                        "text": made.tokenizer.decode(ids, skip_special_tokens=False),
                        "plain": made.tokenizer.decode(ids),
                    }
                    for ids, mine in zip(
                        drawn,
                        ours(options.program, file, [json.dumps(ids).encode() for ids in drawn], "ids"),
                        strict=True,
                    )
                )
            )
            failed += decoded > 0
            print(
                f"{name}: {len(lines)} lines, {different} different; {len(drawn)} draws of ids, {decoded} decoded"
                f" differently; of {len(raw)} with broken bytes {kept} come back as they were",
                flush=True,
            )
            failed += different > 0
    sys.exit(1 if failed else 0)


main()
