# ruff: noqa: RUF001
"""The language of a prose text, for texts of which it is certain.

Scripts tell the languages that are not written in Latin letters. The others are told by their most frequent
words that are neither English words nor usual names in code. Short and mixed texts have no language here.
"""

import re
from collections import Counter

ENGLISH = "English"
_BEGINNING = 4000  # characters that are read
_LEAST = 4  # words of a text that has a language
_HITS, _SHARE = 3, 0.15  # different frequent words that a language needs, and their share of all words
_MIXED = 3  # frequent English words from which on a text in another script is mixed, e.g. a task to translate
_CHARACTERS_PER_WORD = 1.5  # in scripts without spaces
_WORD = re.compile(r"[^\W\d_]+")

_SCRIPTS = {
    "Japanese": (r"[\u3040-\u30ff]", True),
    "Chinese": (r"[\u3400-\u4dbf\u4e00-\u9fff]", True),
    "Thai": (r"[\u0e00-\u0e7f]", True),
    "Korean": (r"[\uac00-\ud7af]+", False),
    "Cyrillic script": (r"[\u0400-\u04ff]+", False),
    "Arabic script": (r"[\u0600-\u06ff]+", False),
    "Hebrew": (r"[\u0590-\u05ff]+", False),
    "Greek": (r"[\u0370-\u03ff\u1f00-\u1fff]{2,}", False),  # a single letter is mathematics
    "Devanagari script": (r"[\u0900-\u097f]+", False),
    "Bengali": (r"[\u0980-\u09ff]+", False),
    "Tamil": (r"[\u0b80-\u0bff]+", False),
}
_SCRIPTS = {name: (re.compile(pattern), unspaced) for name, (pattern, unspaced) in _SCRIPTS.items()}
_FREQUENT = {
    ENGLISH: "the of and to in is that for with this are be as by an from you it on or not which can your "
    "has will if each all into between how what write create given using should",
    "Spanish": "el la los las de que una para con por del como está es son escribe crea función código lista "
    "cadena número números usando este esta devuelve ser si entre sin su cómo cuál programa y",
    "French": "le la les des une est pour dans avec que qui sur vous fonction écrire écrivez écris créer "
    "créez nombre liste chaîne cette votre nous sont pas du aux être ou entre comment de et à en un",
    "German": "der das und ist mit für eine einen einem eines auf nicht zu von dem den werden wird schreibe "
    "schreiben sie erstelle funktion liste zeichenkette zahl zahlen dass ich oder wie nach aus im",
    "Portuguese": "o os das dos que uma para com por não como está são escreva crie função código lista "
    "número números você de em um seu pode usando ser ou entre sem e à",
    "Italian": "il lo gli della delle che una per con sono scrivi crea funzione codice lista numero numeri "
    "di questo questa nel alla come è dei e un stringa restituisce",
    "Dutch": "het een van en met voor niet dat die zijn wordt schrijf functie lijst getal getallen deze maak "
    "naar als op te aan de bij",
    "Polish": "w na się nie jest że do z który która funkcję napisz liczb lista oraz dla przez jak to i",
    "Turkish": "ve bir bu için ile olan fonksiyon yazın yaz liste sayı oluşturun olarak kullanarak daha de",
    "Vietnamese": "và của một các là cho trong với không được hàm viết danh sách số này có",
    "Indonesian": "yang dan untuk dengan dari ini adalah sebuah fungsi buatlah tulis daftar bilangan tidak "
    "pada dalam dapat akan",
}
_FREQUENT = {name: frozenset(words.split()) for name, words in _FREQUENT.items()}
_ANY = frozenset().union(*_FREQUENT.values())


def language(text: str) -> str | None:
    """Return the language of the prose `text`, or None if it is short, mixed or not recognized."""
    words = _WORD.findall(text[:_BEGINNING].lower())
    hits = Counter(word for word in words if word in _ANY)
    if not text.isascii() and (script := _script(text[:_BEGINNING], words, hits)):
        return script
    if len(words) < _LEAST or len(hits) < _HITS:
        return None
    distinct = {name: len(frequent & hits.keys()) for name, frequent in _FREQUENT.items()}
    best, second = sorted(distinct, key=distinct.get, reverse=True)[:2]
    share = sum(hits[word] for word in _FREQUENT[best] & hits.keys()) / len(words)
    # Another language must leave English far behind; related languages share many frequent words.
    ahead = distinct[best] > (2 * distinct[ENGLISH] if best != ENGLISH else distinct[second])
    return best if distinct[best] >= _HITS and share >= _SHARE and ahead else None


def _script(text: str, words: list[str], hits: Counter) -> str | None:
    """Return the language or script of most words if that is not Latin."""
    counts = {}
    for name, (pattern, unspaced) in _SCRIPTS.items():
        n = len(pattern.findall(text))
        counts[name] = n / _CHARACTERS_PER_WORD if unspaced else n
    if counts["Japanese"] >= 0.1 * counts["Chinese"]:  # Japanese mixes both scripts
        counts["Japanese"] += counts.pop("Chinese") if counts["Japanese"] else 0
    best = max(counts, key=counts.get)
    latin = sum(word.isascii() for word in words)
    is_mixed = sum(hits[word] for word in _FREQUENT[ENGLISH] & hits.keys()) >= _MIXED
    if counts[best] < _LEAST or counts[best] <= latin or is_mixed:
        return None
    return best
