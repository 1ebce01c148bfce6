import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import VocabularyError
from charrnn.text.vocabulary import REPLACEMENT, UNKNOWN, Vocabulary, code_points, describe_character

PROPERTY = settings(max_examples=60)
TEXTS = st.text(min_size=1, max_size=60)

NASTY = "e\u0301 \U0001f600 \x00 \r\n \u2028 \ufeff \uffff \U0010ffff \u200d \x85 \u0627\u0644"


def characters(count):
    """Return ``count`` distinct characters in ascending order, without surrogates."""
    return "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)][:count]))


@PROPERTY
@given(TEXTS)
@example(NASTY)
def test_characters_are_sorted_and_unique(text):
    vocabulary = Vocabulary.of(text)
    assert list(vocabulary.characters) == sorted(set(text))
    assert len(vocabulary) == len(set(text))
    assert vocabulary.codepoints.tolist() == [ord(character) for character in vocabulary.characters]
    assert vocabulary.codepoints.dtype == np.uint32


@PROPERTY
@given(TEXTS)
@example(NASTY)
@example("\x00")
@example("\U0010ffff")
def test_decode_is_the_inverse_of_encode(text):
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids) == text
    assert [vocabulary.characters[k] for k in ids.tolist()] == list(text)
    assert [vocabulary.id(character) for character in text] == ids.tolist()


def test_characters_are_not_normalized():
    composed, combining = "\u00e9", "e\u0301"
    assert unicodedata.normalize("NFC", combining) == composed
    assert Vocabulary.of(composed + combining).characters == ("e", "\u00e9", "\u0301")


def test_an_empty_text_has_no_ids():
    vocabulary = Vocabulary.of("ab")
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode(vocabulary.encode("")) == ""


@pytest.mark.parametrize(("size", "dtype"), [
    (1, np.uint8), (255, np.uint8), (256, np.uint8), (257, np.uint16), (65_535, np.uint16), (65_536, np.uint16),
    (65_537, np.uint32)])
def test_ids_have_the_smallest_dtype(size, dtype):
    text = characters(size)
    vocabulary = Vocabulary.of(text)
    assert len(vocabulary) == size
    assert vocabulary.dtype == dtype
    ids = vocabulary.encode(text)
    assert ids.dtype == dtype
    assert np.array_equal(ids, np.arange(size))
    assert vocabulary.decode(ids) == text


@pytest.mark.parametrize("size", [255, 256, 257, 65_535, 65_536, 65_537])
def test_an_unknown_character_is_found_at_every_size(size):
    text = characters(size + 1)
    with pytest.raises(VocabularyError, match=f"U\\+{ord(text[-1]):04X}"):
        Vocabulary.of(text[:-1]).encode(text)


@PROPERTY
@given(TEXTS, st.characters(), TEXTS)
@example("ab", "\n", "c")
@example("ab", "\u2028", "c")
@example("ab", "\x85", "c")
@example("ab", "\x00", "c")
@example("a" * 2000, "\U0001f600", "\U0001f601")
def test_the_error_names_the_first_unknown_character_and_its_position(before, unknown, after):
    before = before.replace(unknown, "") or "ab".replace(unknown, "")
    vocabulary = Vocabulary.of(before)
    with pytest.raises(VocabularyError) as caught:
        vocabulary.encode(before + unknown + after)
    message = str(caught.value)
    assert repr(unknown) in message
    assert f"U+{ord(unknown):04X}" in message
    assert f"at position {len(before):,} " in message
    assert len(message.splitlines()) == 1


def test_a_lone_surrogate_is_an_unknown_character():
    with pytest.raises(VocabularyError, match=r"U\+DCFF.* at position 1 "):
        Vocabulary.of("ab").encode("a\udcff")


def test_a_character_is_described_with_its_name_if_it_has_one():
    assert describe_character("é") == "'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)"
    assert describe_character("\n") == "'\\n' (U+000A)"
    assert describe_character("\U0001f600") == "'\U0001f600' (U+1F600, GRINNING FACE)"


@pytest.mark.parametrize("codepoints", [
    np.array([], np.uint32), [], np.array(97, np.uint32), np.array([[97, 98]], np.uint32),
    [98, 97], [97, 97], [97, 98, 98, 99], np.array([97, 99, 98], np.uint32),
    [0xD801], [97, 0xDFFF], [0x110000], [97, 2**32 - 1], np.array([97, 2**63], np.uint64), [-1], [-1, 97],
    [97.0, 98.0], [np.nan], [True], ["a", "b"], [b"a"], "ab", None])
def test_invalid_code_points_are_refused(codepoints):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(codepoints)


@pytest.mark.parametrize("codepoints", [[0], [0xD7FF, 0xE000], [0x10FFFF], np.array([10, 97], np.uint8), [97, 98]])
def test_unicode_characters_are_accepted(codepoints):
    vocabulary = Vocabulary(codepoints)
    assert vocabulary.characters == tuple(map(chr, codepoints))
    assert vocabulary == Vocabulary.of("".join(map(chr, codepoints)))


def test_the_array_of_the_caller_is_copied():
    codepoints = np.array([97, 98], np.uint32)
    vocabulary = Vocabulary(codepoints)
    codepoints[0] = 65
    assert vocabulary.decode(vocabulary.encode("ab")) == "ab"


@pytest.mark.parametrize("text", ["", "\ud801", "a\udfff"])
def test_an_empty_text_or_a_surrogate_gives_no_vocabulary(text):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary.of(text)


@pytest.mark.parametrize("ids", [[3], [0, 1, 300], [-1], [0, -3]])
def test_an_id_out_of_range_cannot_be_decoded(ids):
    with pytest.raises(IndexError):
        Vocabulary.of("abc").decode(np.array(ids))


def test_the_id_of_an_unknown_character_is_an_error():
    vocabulary = Vocabulary.of("ab")
    with pytest.raises(KeyError):
        vocabulary.id("c")


@PROPERTY
@given(TEXTS, st.characters())
def test_a_vocabulary_contains_its_characters_and_no_others(text, character):
    vocabulary = Vocabulary.of(text)
    assert all(known in vocabulary for known in text)
    assert (character in vocabulary) == (character in text)


@PROPERTY
@given(TEXTS, TEXTS)
def test_vocabularies_of_the_same_characters_are_equal(text, other):
    one, two = Vocabulary.of(text), Vocabulary.of(other)
    assert one == Vocabulary.of(text[::-1] * 2)
    assert hash(one) == hash(Vocabulary.of(text[::-1] * 2))
    assert (one == two) == (set(text) == set(other))
    assert one != one.characters


@PROPERTY
@given(st.text(max_size=30))
def test_code_points_are_those_of_python(text):
    assert code_points(text).tolist() == [ord(character) for character in text]


# The unknown character

def folding(text):
    """Return the vocabulary of a text, to which all other characters are unknown."""
    return Vocabulary(np.append(Vocabulary.of(text).codepoints, UNKNOWN))


@PROPERTY
@given(TEXTS, st.text(max_size=40))
@example("ab", "\ud800c")
@example("ab\ufffd", "c\ufffd")
def test_other_characters_become_the_unknown_one(text, other):
    vocabulary = folding(text)
    known = set(text)
    assert vocabulary.unknown == len(known) == len(vocabulary) - 1
    ids = vocabulary.encode(other + text)
    assert [vocabulary.unknown if character not in known else sorted(known).index(character)
            for character in other + text] == ids.tolist()
    assert vocabulary.decode(ids) == "".join(character if character in known else REPLACEMENT for character in other + text)
    assert vocabulary.missing(other) == sorted(set(other) - known)


@pytest.mark.parametrize("size", [254, 255, 256, 65_535, 65_536])
def test_the_dtype_has_room_for_the_unknown_character(size):
    text = characters(size)
    vocabulary = folding(text)
    ids = vocabulary.encode(text + "\U0010ffff")
    assert ids.dtype == vocabulary.dtype == np.min_scalar_type(size)
    assert np.array_equal(ids, np.arange(size + 1))
    assert vocabulary.codepoints[-1] == UNKNOWN


def test_the_unknown_character_is_not_the_replacement_character():
    vocabulary = folding("ab")
    assert REPLACEMENT not in vocabulary
    assert vocabulary.characters == ("a", "b", REPLACEMENT)
    with pytest.raises(KeyError):
        vocabulary.id(REPLACEMENT)
    assert folding("a\ufffd").id(REPLACEMENT) == 1
    assert vocabulary != Vocabulary.of("ab")
    assert vocabulary != Vocabulary.of("ab" + REPLACEMENT)
    assert Vocabulary.of("ab").unknown is None


@pytest.mark.parametrize("codepoints", [[UNKNOWN], [UNKNOWN, UNKNOWN], [UNKNOWN, 97], [97, UNKNOWN, UNKNOWN],
                                        [97, UNKNOWN + 1]])
def test_the_unknown_character_must_be_the_last_and_not_the_only_one(codepoints):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(codepoints)


@PROPERTY
@given(TEXTS)
def test_missing_returns_the_characters_that_are_not_in_the_vocabulary(text):
    assert Vocabulary.of(text).missing(text) == []
    assert Vocabulary.of("\x00").missing(text) == sorted(set(text) - {"\x00"})


# Code points and bytes

@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=60), st.booleans(), st.sampled_from([0, 254, 255, 256, 300]))
def test_bytes_are_encoded_like_the_characters_with_their_values(data, unknown, more):
    known = data.decode("latin-1") + characters(more)
    vocabulary = folding(known) if unknown else Vocabulary.of(known)
    for found in (vocabulary.encode_latin(data), vocabulary.encode_points(np.frombuffer(data, np.uint8))):
        assert found.dtype == vocabulary.dtype
        assert np.array_equal(found, vocabulary.encode(data.decode("latin-1")))
    assert vocabulary.encode_latin(b"").shape == (0,)


@pytest.mark.parametrize("size", [3, 254, 255])
def test_an_unknown_byte_is_named_with_its_position(size):
    vocabulary = Vocabulary.of(characters(size))
    with pytest.raises(VocabularyError, match=r"U\+00FF.* at position 1,002 "):
        vocabulary.encode_latin(b"\0\1\xff\xff", 1000)
    with pytest.raises(VocabularyError, match=r"U\+4E2D.* at position 7 .*min_count=2"):
        vocabulary.encode_points(np.array([1, 0x4e2d, 0xffff], np.uint16), 6)
    assert folding(characters(size)).encode_latin(b"\0\xff").tolist() == [0, size]
