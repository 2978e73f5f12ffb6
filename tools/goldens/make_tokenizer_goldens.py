#!/usr/bin/env python3
"""Trains tiny tokenizers of every kind with Hugging Face's tokenizers and SentencePiece and writes what they make of
many texts: tests/data/tokenizers/.

Run with tokenizers and sentencepiece installed (made with tokenizers 0.23.3, sentencepiece 0.2.x). The texts are our
own. The ids come from those libraries alone; nothing here knows the C++ side.
"""

import io
import json
import random
import sys
import unicodedata
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "tokenizers"
WORDS = """the cat sat on a mat and looked at the rain while it's raining we'll wait for the bus that never comes
tokenizers cut texts into pieces unhappily unbelievable reading reads reader read lower lowest newer newest
der Hund läuft über die Straße und bellt Äpfel Übermut école garçon naïve œuvre niño año corazón
привет мир как дела сегодня хорошая погода γειά σου κόσμε שלום עולם مرحبا بالعالم नमस्ते दुनिया
你好世界 今天天气很好 日本語のテキスト 안녕하세요 세계 ภาษาไทย def main(): return x + 1 for i in range(10)
123 4567 89012 3.14 1,000,000 2024-05-17""".split("\n")
PATTERNS = {
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+",
    "qwen35": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def make_texts():
    """Whole sentences, odd spaces, contractions, numbers, code, emoji, marks, control characters."""
    texts = [line.strip() for line in WORDS]
    texts += ["", " ", "  ", "\n", "\t\n ", "a", " a", "a ", "  two  spaces  ", "\r\n\r\nend", "x\n\n\ny", "tab\tstop", "\u00a0nbsp\u3000wide",
              "it's IT'S we'Ve don’t 'S 'ſ o'clock", "1 12 123 1234 12345 ²³ Ⅷ ١٢٣", "HelloWorld XMLHttpRequest iPhone ǅungla ʰa ĲSSEL",
              "日本A日本a カタカナ", "e\u0301cole A\u030angstro\u0308m \u0301alone ﬁne ½ ℌ", "İstanbul ΑΣ ß ẞ", "if (a<b) { return -1; } // done\n\tx += 2;",
              "😀 👩‍👩‍👧 🇩🇪 👍🏽 ☃️", "\x00\x01\x07 ctrl \x7f \x85 \u200b \u2028 \ufeff \ufffd", "... --- !!! ?!? ((())) $5 €10 a_b_c", "[CLS] [MASK] <s> </s> <unk> <|end|> <0x0A>",
              "<|end|><|end|>x<|end|> y", "word<sep>word <sep> word", "a" * 300, "ab" * 200, " " * 50 + "x", "\n" * 20, "née Müller, 中文字符。한국 ไทย"]
    generator = random.Random(11)
    pool = " ".join(WORDS).split() + ["\n", "  ", "\t", "!", "😀", "\u0301", "\u200d", "'ll", "<|end|>", "\u00a0", "▁", "▁▁x"]
    for _ in range(60):
        texts.append("".join(generator.choice(pool) + generator.choice(["", " ", " ", "\n"]) for _ in range(generator.randrange(1, 12))))
    # Characters that Unicode 3.2 had already: libraries disagree on what later versions added.
    stable = [chr(c) for c in [*range(0x20, 0x500), *range(0x900, 0xD800), *range(0x10000, 0x1D800)]
              if unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"]
    for _ in range(20):
        texts.append("".join(generator.choice(stable) for _ in range(12)))
    return texts


def byte_level(pre_tokenizer, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(WORDS * 3, trainers.BpeTrainer(
        vocab_size=420, show_progress=False, special_tokens=["<s>", "</s>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def split(name, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(PATTERNS.get(name, name)), behavior, invert)


def bytes_by(*steps):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def characters(pre_tokenizer, normalizer, decoder, **options):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **options))
    tokenizer.normalizer, tokenizer.decoder = normalizer, decoder
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if options.get("byte_fallback") else [])
    tokenizer.train_from_iterator(WORDS * 3, trainers.BpeTrainer(vocab_size=620, show_progress=False,
                                                                 special_tokens=special, limit_alphabet=120))
    if options.get("byte_fallback"):  # The trainer needed them as special tokens; they are the model's.
        parts = json.loads(tokenizer.to_str())
        parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["content"].startswith("<0x")]
        tokenizer = Tokenizer.from_str(json.dumps(parts))
    return tokenizer


def llama2():
    return characters(None, normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
                      decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
                      byte_fallback=True, fuse_unk=True)


def unigram(pre_tokenizer, normalizer, **options):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.Metaspace()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(WORDS * 3, trainers.UnigramTrainer(vocab_size=300, show_progress=False, unk_token="<unk>",
                                                                     special_tokens=["<unk>", "<s>", "</s>"]))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return tokenizer


def word_piece(normalizer, pre_tokenizer):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=30))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre_tokenizer, decoders.WordPiece()
    tokenizer.train_from_iterator(WORDS * 3, trainers.WordPieceTrainer(
        vocab_size=350, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def with_added(tokenizer):
    tokenizer.add_tokens([AddedToken("<sep>", lstrip=True, rstrip=True, normalized=False), AddedToken("cat", single_word=True),
                          AddedToken("READ", normalized=True), AddedToken("  ", normalized=False)])
    return tokenizer


def sentencepiece_model(path, **options):
    """A model with a small character map of its own, for the usual ones take 240 KB."""
    rules = "".join(f"{source}\t{target}\n" for source, target in
                    [("41 30A", "C5"), ("65 301", "E9"), ("9", "20"), ("A", "20"), ("3000", "20"), ("A0", "20"),
                     ("FB01", "66 69"), ("200B", ""), ("1", ""), ("BD", "31 2F 32")])
    file = path.with_suffix(".tsv")
    file.write_text(rules)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(WORDS * 3), model_writer=model, vocab_size=options.pop("vocab_size"),
                                             normalization_rule_tsv=str(file), minloglevel=2, hard_vocab_limit=options.pop("hard_vocab_limit", True), user_defined_symbols=["<sep>"], **options)
    file.unlink()
    path.write_bytes(model.getvalue())
    return model.getvalue()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    texts = make_texts()
    punctuation, digits, whitespace = pre_tokenizers.Punctuation, pre_tokenizers.Digits, pre_tokenizers.WhitespaceSplit
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spm = sentencepiece_model(OUT / "sentencepiece_unigram.model", model_type="unigram", vocab_size=260, hard_vocab_limit=False, character_coverage=0.98)
    sentencepiece_model(OUT / "sentencepiece_bpe.model", model_type="bpe", vocab_size=560, byte_fallback=True,
                        character_coverage=0.98, remove_extra_whitespaces=False)
    charsmap = charsmap_of(spm)
    kinds = {
        "gpt2": lambda: byte_level(gpt2),
        "gpt2_prefix_space": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "llama3": lambda: byte_level(bytes_by(split("llama3")), ignore_merges=True),
        "qwen35": lambda: byte_level(bytes_by(split("qwen35")), normalizers.NFC()),
        "gpt4o": lambda: byte_level(bytes_by(split("gpt4o"))),
        "gpt4o_removed_inverted": lambda: byte_level(bytes_by(split("gpt4o", "removed", True))),
        "smollm": lambda: with_added(byte_level(pre_tokenizers.Sequence([digits(True), gpt2]))),
        "falcon": lambda: byte_level(pre_tokenizers.Sequence([punctuation("contiguous"), gpt2, digits(False),
                                                              split("[0-9][0-9][0-9]")])),
        "regex_merged_previous": lambda: byte_level(bytes_by(split(r"\s|[[:punct:]]", "merged_with_previous"))),
        "regex_merged_next": lambda: byte_level(bytes_by(split(r"[\s[aeiou]]+", "merged_with_next"))),
        "regex_contiguous": lambda: byte_level(bytes_by(split(r"\p{N}|\p{P}", "contiguous"))),
        "regex_lookahead": lambda: byte_level(bytes_by(split(r"\p{N}{1,3}(?=(\p{N}{3})*\b)|\w{2,3}+|$"))),
        "byte_normalizer": lambda: byte_level(pre_tokenizers.Split("Ġ", "merged_with_next"), normalizers.ByteLevel()),
        "llama2": lambda: with_added(llama2()),
        "bpe_unk": lambda: characters(whitespace(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
                                      decoders.Sequence([decoders.Fuse()])),
        "bpe_fused_unk": lambda: characters(pre_tokenizers.Metaspace(prepend_scheme="first"), normalizers.NFD(),
                                            decoders.Metaspace(prepend_scheme="first"), fuse_unk=True),
        "bpe_prefix_suffix": lambda: characters(whitespace(), normalizers.StripAccents(), decoders.Sequence([decoders.Fuse()]),
                                                continuing_subword_prefix="##", end_of_word_suffix="</w>"),
        "unigram": lambda: with_added(unigram(pre_tokenizers.Metaspace(), None)),
        "unigram_charsmap": lambda: unigram(pre_tokenizers.Metaspace(), normalizers.Sequence(
            [normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])),
        "unigram_nmt_whole": lambda: unigram(pre_tokenizers.Metaspace(split=False), normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD()])),
        "bert": lambda: word_piece(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
        "bert_cased": lambda: word_piece(normalizers.BertNormalizer(lowercase=False), pre_tokenizers.Sequence(
            [pre_tokenizers.Whitespace(), pre_tokenizers.CharDelimiterSplit("o")])),
    }
    goldens = {"texts": texts, "kinds": {}}
    for name, make in kinds.items():
        tokenizer = make()
        text = tokenizer.to_str(pretty=False)
        (OUT / f"{name}.json").write_text(text, encoding="utf-8")
        cases = []
        for text in texts:
            ids = tokenizer.encode(text).ids
            case = {"ids": ids}
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            plain = tokenizer.decode(ids, skip_special_tokens=True)
            if decoded != plain:
                case["decoded"] = decoded  # Else as without special tokens.
            if plain != text:
                case["without_special"] = plain  # Else the text itself.
            cases.append(case)
        goldens["kinds"][f"{name}.json"] = cases
    for name in ("sentencepiece_unigram.model", "sentencepiece_bpe.model"):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(OUT / name))
        goldens["kinds"][name] = [{"ids": processor.encode(text)} for text in texts]
    (OUT / "goldens.json").write_text(json.dumps(goldens, ensure_ascii=True, separators=(",", ":")), encoding="utf-8")
    return 0


def charsmap_of(model):
    """Field 2 of field 3 (normalizer_spec) of a SentencePiece model."""
    def fields(data):
        at = 0
        def varint():
            nonlocal at
            value, shift = 0, 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            key = varint()
            if key & 7 == 2:
                length = varint()
                yield key >> 3, data[at:at + length]
                at += length
            elif key & 7 == 5:
                at += 4
            else:
                varint()
    return dict(fields(dict(fields(model))[3]))[2]


if __name__ == "__main__":
    sys.exit(main())
