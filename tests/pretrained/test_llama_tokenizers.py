"""Tokenizers and chat templates of Llama and Qwen: the ids of transformers."""

import json

import numpy as np
import pytest
import tokenizers
import transformers
from tokenizers import models, processors

import keras_transformer as kt
from tests.pretrained import folders
from tests.pretrained.test_gguf import CONTROL, TEXTS, trained

# === Files ===


def saved(theirs, folder, model_type, **settings):
    theirs.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    folders.write_config(folder, model_type)
    return folder


def check(folder, theirs):
    ours = kt.pretrained.load_tokenizer(folder)
    expected = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert ours(TEXTS) == expected
    assert ours.detokenize(expected) == theirs.batch_decode(expected, skip_special_tokens=True)
    return ours


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3"])
def test_tokenizer_json_as_it_is(model_type, tmp_path):
    theirs = trained("llama-bpe")
    folder = saved(theirs, tmp_path, model_type)
    ours = check(folder, transformers.PreTrainedTokenizerFast.from_pretrained(folder))
    assert kt.data.special_ids(ours)[2:] == (1, 2)


@pytest.mark.parametrize("class_name", ["GPT2Tokenizer", "LlamaTokenizer", "LlamaTokenizerFast"])
def test_single_digits_of_smollm(class_name, tmp_path):
    """SmolLM2 names GPT-2's tokenizer; transformers 5 then no longer splits numbers."""
    theirs = trained("smollm")
    check(saved(theirs, tmp_path, "llama", tokenizer_class=class_name), theirs)


@pytest.mark.parametrize("whole", [True, False], ids=["tokenizer_json", "older_files"])
def test_qwen(whole, tmp_path):
    made = trained("qwen2").backend_tokenizer
    made.model.save(str(tmp_path))
    theirs = transformers.Qwen2Tokenizer(
        vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt")
    )
    theirs.add_special_tokens({"additional_special_tokens": CONTROL[1:]})
    theirs.save_pretrained(tmp_path / "new")
    folder = tmp_path / "new"
    folders.write_config(folder, "qwen2")
    if not whole:
        (folder / "tokenizer.json").unlink()
        made.model.save(str(folder))
    reference = transformers.Qwen2Tokenizer.from_pretrained(folder)
    ours = check(folder, reference)
    assert ours.end_id == ours.padding_id == reference.eos_token_id


def starting(theirs):
    """Puts the start token in front of texts, by the tokenizer.json alone."""
    theirs.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    return theirs


@pytest.mark.parametrize("settings", [{}, {"add_bos_token": True}, {"add_bos_token": False}])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_start_in_front_of_a_prompt(in_file, settings, tmp_path):
    """As transformers adds it: for a plain tokenizer.json, only as that says."""
    theirs = starting(trained("llama-bpe")) if in_file else trained("llama-bpe")
    folder = saved(theirs, tmp_path / "theirs", "llama")
    path = folder / "tokenizer_config.json"
    values = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("add_")}
    path.write_text(json.dumps({**values, **settings}))
    reference = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    expected = [reference(text)["input_ids"] for text in TEXTS]
    ours = kt.pretrained.load_tokenizer(folder)
    assert ours.add_start == in_file
    assert kt.data.encode(ours, TEXTS, start=ours.add_start) == expected
    kt.data.save_tokenizer(ours, tmp_path / "ours")
    assert kt.data.load_tokenizer(tmp_path / "ours").add_start == ours.add_start


def test_opt_starts_with_the_end_token(tmp_path):
    folder = folders.gpt2(tmp_path)
    folders.write_config(folder, "opt", bos_token_id=0, eos_token_id=0)
    token = "<|endoftext|>"
    settings = {"add_bos_token": True, "bos_token": token, "eos_token": token}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = transformers.GPT2Tokenizer.from_pretrained(folder)
    expected = [theirs(text)["input_ids"] for text in folders.AWKWARD]
    assert expected[0][0] == 0
    ours = kt.pretrained.load_tokenizer(folder)
    assert ours.add_start
    assert kt.data.encode(ours, folders.AWKWARD, start=True) == expected


@pytest.mark.parametrize("model_type", ["gpt_neo", "opt"])
@pytest.mark.parametrize("whole", [False, True])
def test_gpt_neo_and_opt_have_the_tokenizer_of_gpt2(whole, model_type, tmp_path):
    folder = folders.gpt2(tmp_path, whole=whole)
    folders.write_config(folder, model_type)
    check(folder, transformers.GPT2Tokenizer.from_pretrained(folder))


def test_several_ends(tmp_path):
    """The first one is the tokenizer's, and generation stops at all of them."""
    theirs = trained("llama-bpe")
    folder = saved(theirs, tmp_path, "llama")
    values = {"eos_token_id": [2, 7, 9], "bos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(values))
    assert kt.pretrained.load_tokenizer(folder).end_id == 2


def test_no_files(tmp_path):
    folders.write_config(tmp_path, "llama")
    with pytest.raises(ValueError, match="`folder` must contain tokenizer.json"):
        kt.pretrained.load_tokenizer(tmp_path)
    folders.write_config(tmp_path, "qwen2")
    with pytest.raises(ValueError, match="tokenizer.json, or vocab.json and merges.txt"):
        kt.pretrained.load_tokenizer(tmp_path)


# === Chat templates ===

CHAT_ML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chat_ml": CHAT_ML,
    "zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
        "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n"
        "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"
        "{% endif %}\n{% endfor %}"
    ),
    "llama3": (
        "{{- bos_token }}\n{%- set date_string = '26 Jul 2024' %}\n"
        "{%- if messages[0]['role'] == 'system' %}\n"
        "    {%- set system = messages[0]['content']|trim %}\n"
        "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = '' %}\n"
        "{%- endif %}\n{{- '<|im_start|>system\n' + date_string + system + eos_token }}\n"
        "{%- for message in messages %}\n"
        "    {{- '<|im_start|>' + message['role'] + '\n' }}\n"
        "    {{- message['content'] | trim + eos_token }}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\n' }}\n{%- endif %}\n"
    ),
    "tags": (
        "{%- set ns = namespace(count=0) -%}{%- for m in messages -%}"
        "{%- set ns.count = ns.count + 1 -%}{%- if m.role == 'tool' -%}{%- continue -%}"
        "{%- endif -%}{%- if tools -%}{{ tools | tojson }}{%- endif -%}"
        "{{ ns.count }} <|im_start|>{{ m.role }}\n"
        "{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"
        "{% endgeneration %}{% else %}{{ {'text': m.content} | tojson }}{{ eos_token }}"
        "{% endif %}{%- endfor -%}"
    ),
}
CONVERSATIONS = [
    [{"role": "user", "content": "What is 12 + 30?"}],
    [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "東京はどこ？ 😀 \n\n สวัสดี"},
        {"role": "assistant", "content": "Là-bas & <here> 'quoted' \"twice\""},
        {"role": "user", "content": "مرحبا  \n"},
    ],
    [
        {"role": "user", "content": "a", "name": None},
        {"role": "assistant", "content": "b"},
    ],
]


def with_template(folder, template, place="settings"):
    theirs = trained("smollm")
    theirs.chat_template = template
    folder = saved(theirs, folder, "llama")
    file = folder / "chat_template.jinja"
    assert file.is_file()
    if place != "file":
        file.unlink()
        value = [{"name": "other", "template": "x"}, {"name": "default", "template": template}]
        saved_as = template if place == "settings" else value
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": saved_as}))
    return folder, theirs


@pytest.mark.parametrize("place", ["file", "settings", "list"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_conversations_have_the_ids_of_transformers(name, place, tmp_path):
    folder, theirs = with_template(tmp_path, TEMPLATES[name], place)
    ours = kt.pretrained.load_tokenizer(folder)
    for messages in CONVERSATIONS:
        for prompt in (False, True):
            text = theirs.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
            ids = theirs.apply_chat_template(
                messages, return_dict=False, add_generation_prompt=prompt
            )
            assert kt.data.render_chat(ours, messages, prompt) == text
            assert kt.data.encode_chat(ours, messages, prompt) == ids


def test_variables_of_a_template(tmp_path):
    folder, theirs = with_template(tmp_path, TEMPLATES["tags"])
    ours = kt.pretrained.load_tokenizer(folder)
    tools = [{"name": "søk", "args": [1, None]}]
    text = theirs.apply_chat_template(CONVERSATIONS[0], tools=tools, tokenize=False)
    assert "søk" in text
    assert kt.data.render_chat(ours, CONVERSATIONS[0], tools=tools) == text


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        ("{{ raise_exception('only one') }}", CONVERSATIONS[0], "Received: only one"),
        ("{% for %}", CONVERSATIONS[0], "`chat_template` must be a Jinja template"),
        (
            "{{ messages.__class__.__mro__ }}",
            CONVERSATIONS[0],
            "access to attribute '__class__' of 'list' object is unsafe",
        ),
        ("{{ messages.append(1) }}", CONVERSATIONS[0], "unsafe|not safely callable"),
        ("{{ messages[0].content + 1 }}", CONVERSATIONS[0], "`messages` must contain what"),
        (CHAT_ML, [], r"`messages` must be a list of dicts.*Received: \[\]"),
        (CHAT_ML, "Hello", "`messages` must be a list of dicts.*Received: 'Hello'"),
        (CHAT_ML, ["Hello"], "`messages` must be a list of dicts"),
        (CHAT_ML, [{"role": "user", "content": object()}], "texts and other plain values"),
        (CHAT_ML, [{"role": "user"}], "`messages` must"),
    ],
)
def test_what_is_refused(template, messages, message, tmp_path):
    tokenizer = kt.data.HuggingFaceTokenizer(
        tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a")).to_str(), chat_template=template
    )
    with pytest.raises(ValueError, match=message):
        kt.data.render_chat(tokenizer, messages)


def test_no_template(tmp_path):
    tokenizer = kt.data.HuggingFaceTokenizer(
        tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a")).to_str()
    )
    with pytest.raises(ValueError, match="`tokenizer` must have a `chat_template`"):
        kt.data.render_chat(tokenizer, CONVERSATIONS[0])
    folder = folders.gpt2(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": {"a": 1}}))
    with pytest.raises(ValueError, match="`chat_template` in .* must be a text"):
        kt.pretrained.load_tokenizer(folder)


# === Rows for training ===


def test_rows_of_conversations(tmp_path):
    folder, theirs = with_template(tmp_path, CHAT_ML)
    tokenizer = kt.pretrained.load_tokenizer(folder)
    long = [
        {"role": "user", "content": "Where is the cat?"},
        {"role": "assistant", "content": "On the mat."},
        {"role": "user", "content": "And the dog?"},
        {"role": "assistant", "content": "On the log!"},
    ]
    inputs, labels, weights = kt.data.chat_rows(tokenizer, [long, long[:2]], max_length=512)
    whole = theirs.apply_chat_template(long, return_dict=False)
    assert inputs["token_ids"].shape == labels.shape == weights.shape == (2, len(whole) - 1)
    assert inputs["token_ids"][0].tolist() == whole[:-1]
    assert labels[0].tolist() == whole[1:]
    learned = theirs.decode(labels[0][weights[0] == 1])
    assert learned == "On the mat.<|im_end|>On the log!<|im_end|>"
    assert theirs.decode(labels[1][weights[1] == 1]) == "On the mat.<|im_end|>"
    short = len(theirs.apply_chat_template(long[:2], return_dict=False)) - 1
    assert (inputs["token_ids"][1, short:] == theirs.pad_token_id).all()
    assert not weights[1, short:].any() and set(np.unique(weights)) == {0.0, 1.0}

    inputs, _, cut = kt.data.chat_rows(tokenizer, [long], max_length=short)
    assert inputs["token_ids"].shape == (1, short)
    assert cut.sum() == weights[1].sum()


@pytest.mark.parametrize(
    ("conversations", "arguments", "message"),
    [
        ([], {}, "`conversations` must contain at least one"),
        ([CONVERSATIONS[0]], {}, r"with the role 'assistant' .* none in conversations\[0\]"),
        ([CONVERSATIONS[2]], {"max_length": 5}, "max_length=5"),
        ([CONVERSATIONS[2]], {"max_length": 1}, "`max_length` must"),
        ([CONVERSATIONS[2]], {"role": "model"}, "with the role 'model'"),
    ],
)
def test_rows_that_are_refused(conversations, arguments, message, tmp_path):
    folder, _ = with_template(tmp_path, CHAT_ML)
    tokenizer = kt.pretrained.load_tokenizer(folder)
    with pytest.raises(ValueError, match=message):
        kt.data.chat_rows(tokenizer, conversations, **{"max_length": 99, **arguments})


def test_a_template_that_rewrites_earlier_messages(tmp_path):
    template = "{% for m in messages %}{{ loop.last }}{{ m.content }}<|im_end|>{% endfor %}"
    folder, _ = with_template(tmp_path, template)
    tokenizer = kt.pretrained.load_tokenizer(folder)
    chat = [*CONVERSATIONS[2], {"role": "user", "content": "more"}]
    with pytest.raises(ValueError, match=r"when more messages follow. Received: messages\[1\]"):
        kt.data.chat_rows(tokenizer, [chat], max_length=99)
