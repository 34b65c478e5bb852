"""Folders with tokenizers in the Hugging Face form, trained on the spot."""

import io
import json

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from keras_transformer.pretrained.tokenizers.language_codes import M2M100

CORPUS = [
    "The cat sat on the mat, and the dog sat on the log.",
    "Where is the old house? It's on the hill; isn't it?",
    "I don't know what 1,234 dogs and 56 cats would do in 1789!",
    "Où est le chat ? Le chat est là, près de la vieille maison.",
    "L'été dernier, les élèves ont mangé des crêpes à la crème brûlée.",
    "Die Katze saß auf der Matte – und größer wurde sie nicht.",
    "The naïve café-owner said: 'We've no idea, you're right, he'll pay $5.'",
    "日本語 the text is here 中文 and there",
]
# Writing without spaces, from right to left, with marks over and under the letters.
LETTERS = [
    "吾輩は猫である。名前はまだ無い。カタカナもﾊﾝｶｸもある",
    "แมวนั่งอยู่บนเสื่อ และหมานั่งอยู่บนท่อนไม้",
    "جلست القطة على الحصيرة، وَجَلَسَ الكَلْبُ",
    "😀 ☃️ 👩‍👩‍👧 🇫🇷 👍🏽",
]
AWKWARD = [
    *CORPUS,
    *LETTERS,
    "",
    " ",
    "  two  spaces   and\ttabs \n new lines ",
    "emoji 😀👩‍👩‍👧 and flags 🇫🇷 ☃",
    "e\u0301te\u0301 is été, and Å is Å",
    "non\u00a0breaking\u202fspace \u200bzero\u200dwidth \ufeffmark",
    "controls \x00\x01\x7f\ufffd here",
    "日本語中文한국어 العربية עברית हिन्दी",
    "don't can't won't it's I'm you've they're he'd she'll O'Neil ''quotes'' “curly” ‘ones’",
    "1234567890 3.14159 1e-5 ١٢٣ ½ ² ﬁ Ⅷ",
    "UPPER lower MiXeD İstanbul ẞ Straße ΣΊΣΥΦΟΣ",
    "http://example.org/a?b=c&d=%20 a@b.c #tag C++ \\ / | ~ ^ _ {} [] <>",
    "a" * 120,
    ">>fra<< the cat",
    " >>fra<< the cat",
    ">>fra<<the cat >>deu<< the dog",
    ">>unknown<< the cat",
    ">>fra no end",
    ">><<x",
    "literal </s> and <unk> and <pad> in the text</s>",
    "</s>>>fra<< the cat",
    "[CLS] the [SEP] cat [MASK] [PAD] [UNK] [cls]",
    "<|endoftext|>the cat<|endoftext|> <|endoftext|",
    "<s> the cat</s><mask> the <mask>dog <pad>",
]


def write_config(folder, model_type, **values):
    content = {"model_type": model_type, **values}
    (folder / "config.json").write_text(json.dumps(content))


def _save(folder, tokenizer, whole):
    folder.mkdir(parents=True, exist_ok=True)
    if whole:
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        tokenizer.model.save(str(folder))


def gpt1(folder, texts=CORPUS, whole=False, vocabulary_size=300):
    model = models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        end_of_word_suffix="</w>",
        special_tokens=["<unk>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _save(folder, tokenizer, whole)
    write_config(folder, "openai-gpt")
    return folder


def gpt2(folder, texts=CORPUS, whole=False, vocabulary_size=400):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _save(folder, tokenizer, whole)
    write_config(folder, "gpt2")
    return folder


def roberta(folder, texts=CORPUS, whole=False, vocabulary_size=400):
    """A GPT-2's tokenizer with fairseq's special tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _save(folder, tokenizer, whole)
    write_config(folder, "roberta")
    return folder


def distilbert(folder, **arguments):
    bert(folder, **arguments)
    write_config(folder, "distilbert")
    return folder


def xlm_roberta(folder, texts=None, whole=False, vocabulary_size=300):
    """SentencePiece's pieces; `whole` as older versions of transformers converted them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [*CORPUS, *LETTERS] if texts is None else texts
    proto = sentence_piece(texts, vocabulary_size, character_coverage=1.0)
    if not whole:
        (folder / "sentencepiece.bpe.model").write_bytes(proto)
    else:
        _unigram(proto).save(str(folder / "tokenizer.json"))
    write_config(folder, "xlm-roberta")
    return folder


def _unigram(proto):
    content = sentencepiece_model_pb2.ModelProto()
    content.ParseFromString(proto)
    pieces = [(piece.piece, piece.score) for piece in content.pieces[3:]]
    first = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer = tokenizers.Tokenizer(models.Unigram([*first, *pieces, ("<mask>", 0.0)], 3))
    charsmap = normalizers.Precompiled(content.normalizer_spec.precompiled_charsmap)
    spaces = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([charsmap, spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.add_special_tokens(special)
    tokenizer.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True)])
    return tokenizer


def bert(folder, texts=CORPUS, whole=False, vocabulary_size=300, lowercase=True, **settings):
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(9)
    tokenizer.enable_padding(length=9)
    _save(folder, tokenizer, whole)
    settings = {"do_lower_case": lowercase, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    write_config(folder, "bert")
    return folder


def sentence_piece(texts, vocabulary_size, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **options,
    )
    return model.getvalue()


def pieces_of(proto):
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    return [processor.id_to_piece(index) for index in range(processor.vocab_size())]


def marian(folder, texts=(CORPUS[:3] + CORPUS[6:], CORPUS[3:6]), separate=False, size=90):
    """As Helsinki-NLP's: </s> first, <unk>, all pieces in an order of their own, <pad> last."""
    folder.mkdir(parents=True, exist_ok=True)
    protos = [sentence_piece(side, size) for side in texts]
    for name, proto in zip(("source", "target"), protos, strict=True):
        (folder / f"{name}.spm").write_bytes(proto)

    # One piece is missing, as happens in real ones.
    sides = [sorted(set(pieces_of(proto)[3:]))[1:] for proto in protos]
    if not separate:
        sides = [sorted({*sides[0], *sides[1]})]
    longest = max(map(len, sides))
    vocabularies = []
    for side in sides:
        # With two vocabularies padding has one id, too.
        rest = [f"spare{index}" for index in range(longest - len(side))]
        tokens = ["</s>", "<unk>", ">>fra<<", ">>deu<<", *side, *rest, "<pad>"]
        vocabularies.append({token: index for index, token in enumerate(tokens)})
    whole = vocabularies[0]
    for name, vocabulary in zip(("vocab", "target_vocab"), vocabularies, strict=False):
        (folder / f"{name}.json").write_text(json.dumps(vocabulary))
    settings = {"separate_vocabs": separate, "source_lang": "eng", "target_lang": "fra"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    write_config(
        folder,
        "marian",
        eos_token_id=0,
        pad_token_id=whole["<pad>"],
        decoder_start_token_id=whole["<pad>"],
        vocab_size=len(whole),
    )
    return folder


# === Multilingual models ===

MANY = [
    *CORPUS,
    "ภาษาไทย สวัสดีครับ แมวนั่งบนเสื่อ",
    "اللغة العربية جميلة والقط على البساط",
    "😀 emoji 🎉 ☃",
]
MANY_AWKWARD = [
    *AWKWARD,
    *MANY,
    "__fr__ the cat",
    "the __fr__cat__de__",
    "the fra_Latn cat",
    "<mask> the <mask> cat",
    "<s> the cat </s>",
]
NLLB_LANGUAGES = ["eng_Latn", "fra_Latn", "deu_Latn", "tha_Thai", "arb_Arab", "jpn_Jpan"]


def _byte_pair_pieces(size=220):
    return sentence_piece(MANY, size, model_type="bpe", character_coverage=1.0)


def m2m_100(folder, listed=True, settings=None, size=220):
    """As facebook's: the vocabulary in an order of its own, languages and made-up words behind."""
    folder.mkdir(parents=True, exist_ok=True)
    proto = _byte_pair_pieces(size)
    (folder / "sentencepiece.bpe.model").write_bytes(proto)
    # One piece is missing, as happens in real ones.
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pieces_of(proto)[3:])[1:]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    settings = {"tokenizer_class": "M2M100Tokenizer", **(settings or {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if listed:
        more = [f"__{code}__" for code in M2M100]
        content = {"additional_special_tokens": more, "eos_token": "</s>"}
        (folder / "special_tokens_map.json").write_text(json.dumps(content))
    write_config(folder, "m2m_100", vocab_size=len(tokens) + len(M2M100) + 8)
    return folder


def nllb(folder, whole=True, **settings):
    """As facebook's: fairseq's four tokens, the pieces, the languages, a mask."""
    folder.mkdir(parents=True, exist_ok=True)
    proto = _byte_pair_pieces()
    pieces = pieces_of(proto)[3:]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*special, *pieces, *NLLB_LANGUAGES, "<mask>"]
    settings = {
        "tokenizer_class": "NllbTokenizer",
        "additional_special_tokens": NLLB_LANGUAGES,
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    write_config(folder, "m2m_100", vocab_size=len(tokens) + 2)
    if not whole:
        (folder / "sentencepiece.bpe.model").write_bytes(proto)
        return folder
    known, merges = set(pieces), []
    for piece in pieces:
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        merges += [(one, two) for one, two in splits if one in known and two in known]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True)
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    characters = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.normalizer = characters
    marks = {"replacement": "\u2581", "prepend_scheme": "always"}
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**marks)]
    )
    tokenizer.decoder = decoders.Metaspace(**marks)
    tokenizer.add_special_tokens([*special, *NLLB_LANGUAGES])
    mask = tokenizers.AddedToken("<mask>", lstrip=True, normalized=True)
    tokenizer.add_special_tokens([mask])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


# === T5 ===

SENTINELS = [
    "<extra_id_0> walks in<extra_id_1>park <extra_id_99>",
    "The <extra_id_0>, the <extra_id_100> and <extra_id_7>",
    "translate English to German: The cat sat on the mat.",
]


def t5(folder, whole=False, **settings):
    """As google's: padding, end and unknown first, a hundred sentinels behind the pieces.

    `whole` as older versions of transformers converted them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    proto = sentence_piece(MANY, 280, character_coverage=0.99, **special)
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    size = len(pieces_of(proto)) + settings.get("extra_ids", 100)
    write_config(folder, "t5", vocab_size=size + 28)
    if not whole:
        (folder / "spiece.model").write_bytes(proto)
        return folder
    content = sentencepiece_model_pb2.ModelProto()
    content.ParseFromString(proto)
    sentinels = [f"<extra_id_{index}>" for index in reversed(range(100))]
    pieces = [(piece.piece, piece.score) for piece in content.pieces]
    pieces += [(name, 0.0) for name in sentinels]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, 2))
    charsmap = normalizers.Precompiled(content.normalizer_spec.precompiled_charsmap)
    spaces = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([charsmap, spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *sentinels])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def madlad(folder, languages=("de", "ja", "zh_Hant")):
    """As google's: SentencePiece's usual ids, the target languages as symbols."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = [f"<2{code}>" for code in languages]
    proto = sentence_piece(MANY, 280, character_coverage=1.0, user_defined_symbols=symbols)
    (folder / "spiece.model").write_bytes(proto)
    names = {"pad_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}
    settings = {"tokenizer_class": "T5Tokenizer", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
    write_config(folder, "t5", vocab_size=len(pieces_of(proto)), **ids)
    return folder
