#!/usr/bin/env python3
"""Makes tests/data/audio/phonemes.json: what piper-tts says to a spread of sentences, in several languages.

Run with Python and the package piper-tts 1.8.0 (--piper DIR, unpacked; tools/fetch_dependencies --peers puts it into
.deps/peers/audio). Each case is a voice of espeak-ng, a text and the phonemes of each sentence with their signs, as
Piper gives them to a voice. piper-tts carries an espeak-ng that is newer than Debian 12's 1.51: here it reads Debian's
dictionaries (package espeak-ng-data). What its newer code writes otherwise (stress, U+02B2, tapped r) the test folds.
"""

import argparse
import json
import sys
from pathlib import Path

TEXTS = {
    "en-us": [
        "Hello world.",
        "The little boat crossed the harbour before sunrise. Nobody on the shore could see where it was going.",
        "One, two; three: four. Five? Six!",
        "It costs $3.14, or 1,000 euros at 12:30 on 24.12.1999; that is 50% off.",
        "In 1984 there were 2,345,678 people, 3.5 times as many.",
        "He said, \"Go away!\" Then he went.",
        "Fruit, e.g. apples, is good. So it is, etc. and so on.",
        "The U.S. army came at 5 p.m. today.",
        "Well-known facts (like this one) are here; it's the dogs' house.",
        "Yes \u2014 or no \u2013 who knows?",
        "Look at example.com now. NASA and the FBI agree.",
        "Really?! No.",
        "A line\nthat goes on",
        "A paragraph\n\nAnother one",
        "no sign at the end",
        "C++ & C# @ home: 5 + 3 = 8.",
        "It was the best of times, it was the worst of times, it was the age of wisdom.",
    ],
    "de": ["Guten Morgen, wie geht es Ihnen? Es ist 7 Uhr.", "Das kostet 3,50 Euro; das sind 20 %.",
           "\u201eKomm her!\u201c, rief er."],
    "fr": ["Bonjour, comment allez-vous ? Tr\u00e8s bien, merci !", "L'\u00e9t\u00e9 dernier, nous \u00e9tions l\u00e0."],
    "es": ["\u00bfD\u00f3nde est\u00e1 la biblioteca? \u00a1Qu\u00e9 bien!", "Son las 3 y media; v\u00e1monos."],
    "it": ["Buongiorno, come sta? Sono le otto."],
    "ru": ["\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430? \u0412\u0441\u0451 \u0445\u043e\u0440\u043e\u0448\u043e."],
    "el": ["\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1. \u03a4\u03b9 \u03ba\u03ac\u03bd\u03b5\u03b9\u03c2\u037e \u039a\u03b1\u03bb\u03ac."],
    "ar": ["\u0645\u0631\u062d\u0628\u0627\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f \u0628\u062e\u064a\u0631."],
    "hi": ["\u0928\u092e\u0938\u094d\u0924\u0947\u0964 \u0906\u092a \u0915\u0948\u0938\u0947 \u0939\u0948\u0902?"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--piper", type=Path, default=root / ".deps/peers/audio", help="folder of the unpacked package")
    parser.add_argument("--data", type=Path, default=Path("/usr/lib/x86_64-linux-gnu/espeak-ng-data"))
    parser.add_argument("--output", type=Path, default=root / "tests/data/audio/phonemes.json")
    options = parser.parse_args()
    sys.path.insert(0, str(options.piper))
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemizer = EspeakPhonemizer(options.data)
    cases = []
    for voice, texts in TEXTS.items():
        for text in texts:
            sentences = ["".join(one) for one in phonemizer.phonemize(voice, text)]
            cases.append({"voice": voice, "text": text, "phonemes": sentences})
    options.output.write_text(json.dumps({"cases": cases}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
