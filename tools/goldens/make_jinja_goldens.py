#!/usr/bin/env python3
"""Makes tests/data/text/jinja_goldens.json: what jinja2, as transformers sets it up, makes of small templates.

Each construct of the language has a few templates here; the file holds their texts with the rendering, or null where
jinja2 raises at parsing or rendering. The second argument is a folder for seeds of the fuzz target, made of the same
templates. Run with Python, transformers and jinja2:

    make_jinja_goldens.py tests/data/text/jinja_goldens.json tests/fuzz/corpus/fuzz_template
"""

import datetime
import json
import sys
from pathlib import Path

import jinja2
import transformers
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 7, 26, 10, 11, 12, 345678)

VARIABLES = {
    "n": 3, "f": 2.5, "s": "Hello World", "u": "Grüße 你好 🦙", "e": "", "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "empty": [], "d": {"b": 1, "a": 2, "C": 3},
    "nested": {"x": {"y": [1, {"z": "deep"}]}, "items": 5, "get": 6},
    "people": [{"name": "Bo", "age": 30, "tags": ["x"]}, {"name": "al", "age": 25}, {"name": "Cy", "age": 30, "on": True}],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
    "mixed": [1, 2.0, "three", None, True, [4], {"five": 5}], "big": 18446744073709551615, "small": 1e-05,
    "text": "line one\nline two\n\n  line four\n", "html": "<a href='x'>&\"</a>", "num": "42", "ctl": "a\x00b\x1f\x7f\u200b\n\t'\"\\",
}

TEMPLATES = """
plain text
§ {{ n }} {{ f }} {{ s }} {{ yes }} {{ nil }} {{ l }} {{ d }}
§ {{ 'a' "b" 'c' }}{{ 'it\\'s' }}{{ "\\n\\t\\x41\\u00e9\\U0001F999\\101\\q\\\\" }}
§ {{ 1 }} {{ 1.0 }} {{ 1e5 }} {{ 1.5e-7 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1e16 }} {{ 123456789012345680.0 }}
§ {{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7.5 % -2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
§ {{ -2 ** 2 }} {{ +3 }} {{ - -3 }} {{ -3|abs }} {{ 10 - 3 - 2 }} {{ 2.5 // 1 }} {{ -0.0 }} {{ 1e308 * 10 }}
§ {{ True + 1 }} {{ 'a' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'x' * -1 }}|
§ {{ 1 / 0 }}
§ {{ 1 // 0 }}
§ {{ 1 % 0 }}
§ {{ 'a' + 1 }}
§ {{ 1 + 'a' }}
§ {{ 'a' - 'b' }}
§ {{ n ~ s ~ nil ~ 2.0 ~ l }}
§ {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 != 2 == 2 }} {{ (1, 2) == [1, 2] }}
§ {{ 1 < 'a' }}
§ {{ nil < 1 }}
§ {{ 2 in l }} {{ 9 not in l }} {{ 'ell' in s }} {{ 'b' in d }} {{ 1 in d }} {{ 'x' in 'y' ~ 'x' }} {{ missing in l }} {{ 1 in missing }}
§ {{ missing in 'abc' }}
§ {{ 1 in 5 }}
§ {{ yes and no }} {{ no or 'x' }} {{ not yes }} {{ not not e }} {{ 0 or '' or [] or 'last' }} {{ 1 and 2 and 3 }} {{ nil or missing }}|
§ {{ 'a' if yes else 'b' }} {{ 'a' if no else 'b' }} [{{ 'a' if no }}] {{ 'x' if no else 'y' if no else 'z' }}
§ {{ ('a' if no) + 'b' }}
§ {{ missing }}|{{ missing or 'd' }}|{{ missing is defined }}|{{ nested.q }}|{{ nested['q'] }}|{{ l[9] }}|
§ {{ missing.x }}
§ {{ missing['x'] }}
§ {{ missing() }}
§ {{ missing + 1 }}
§ {{ 1 + missing }}
§ {{ missing > 1 }}
§ {{ -missing }}
§ {{ missing == missing2 }} {{ missing == nil }} {{ missing != 1 }} {% for x in missing %}x{% else %}none{% endfor %} {{ missing|length }} {{ missing|list }}
§ {{ nested.x.y[1].z }} {{ nested['x']['y'][0] }} {{ nested.x.y.1.z }} {{ nested.x.y[-1] }} {{ s[0] }} {{ s[-1] }} {{ u[6] }}{{ u[7] }} {{ u[9] }}
§ {{ nested.items is callable }} {{ nested['items'] }} {{ nested.get('x').y[0] }} {{ nested['get'] }} {{ d['keys'] is callable }} {{ d.a }}
§ {{ s[1:4] }} {{ s[:5] }} {{ s[-5:] }} {{ s[::-1] }} {{ s[::2] }} {{ u[0:5] }} {{ u[-1:] }} {{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[5:] }} {{ (1,2,3)[1:] }} {{ s[4:1:-1] }} {{ s[100:] }}|
§ {{ l[::0] }}
§ {{ l['a':] }}
§ {{ nil[1:] }}
§ {{ n[0] }}|{{ n.foo }}|{{ nil.foo }}|{{ nil['x'] }}|
§ {{ [] }} {{ [1, 'a', none, true, 1.5] }} {{ {} }} {{ {'a': 1, 2: 'b', none: [1]} }} {{ () }} {{ (1,) }} {{ (1, 'x') }} {{ 1, 2 }} {{ [1,] }} {{ {'a': 1,} }}
§ {{ ["it's", 'say "hi"', 'both \\' "', 'tab\\t nl\\n back\\\\', 'é', '\\x00', '\\u200b'] }}
§ {{ [ctl, u] }}
§ {{ [missing] }} {{ [1e-5, 1e16, 1.0, 100000.0, 0.1] }} {{ [s|safe] }} {{ [range(3)] }} {{ d.keys() }} {{ d.values() }} {{ d.items() }}
§ {% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (p, q) = [3, 4] %}{{ p }}{{ q }}
§ {% set a, b = 1 %}
§ {% set a, b = [1, 2, 3] %}
§ {% set x %}block {{ n }}{% endset %}[{{ x }}]{% set y | upper | replace('L', 'l') %}hello{% endset %}{{ y }}
§ {% set ns = namespace(found=false, n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% if i == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }} {{ ns }}{{ ns.nope }}
§ {% set d.x = 1 %}
§ {% set ns = namespace() %}{% set ns._x = 1 %}
§ {% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns['a'] }}
§ {% set true = 1 %}
§ {% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = i * 10 %}{{ x }} {% endfor %}{{ x }}
§ {% if yes %}{% set x = 5 %}{% endif %}{{ x }}{% for i in [1] %}{% set y = 1 %}{% endfor %}{{ y is defined }}
§ {% for i in l %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
§ {% for i in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.depth0 }} {% endfor %}
§ {% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {{ loop.previtem is defined }} {{ loop.cycle('a', 'b') }} {% endfor %}
§ {% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }} {% endfor %}{% for i in [1] %}{{ loop }}{% endfor %}
§ {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ🦙' %}[{{ c }}]{% endfor %}
§ {% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
§ {% for a, b in [1] %}{% endfor %}
§ {% for i in 5 %}{% endfor %}
§ {% for i in nil %}{% endfor %}
§ {% for i in [] %}x{% else %}empty{% endfor %} {% for i in l if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}{% for i in l if i > 9 %}{% else %}no{% endfor %}
§ {% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
§ {% for i in [1] %}{% break %}{% else %}else runs{% endfor %} {% for i in [1, 2] %}{{ i }}{% else %}no{% endfor %}
§ {% break %}
§ {% for x in tree recursive %}{{ x.v }}{{ loop.depth }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}
§ {% for x in l %}{{ loop(l) }}{% endfor %}
§ {% for i in [1, 2] %}{% for j in [3, 4] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
§ {% for i in l %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
§ {% for loop in l %}{% endfor %}
§ {% for i in range(3) %}{{ i }}{% endfor %}{{ range(2, 8, 3)|list }}{{ range(5, 0, -2)|list }}{{ range(3)|length }}{{ range(10)[2] }}{{ range(3) }}
§ {{ range(100001) }}
§ {{ range(1000000000000) }}
§ {% if n > 5 %}a{% elif n > 2 %}b{% elif n %}c{% else %}d{% endif %}{% if missing %}x{% endif %}{% if not missing %}y{% endif %}
§ {% with a = 1, b = n %}{{ a }}{{ b }}{% set c = 2 %}{{ c }}{% endwith %}{{ c is defined }}{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}
§ {% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='z') }}{{ m() }}{{ m(a=5) }}
§ {% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
§ {% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
§ {% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }} {{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }} {{ m }}
§ {% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(4) }}{% macro r(x) %}{{ x }}{% if x > 0 %}{{ r(x - 1) }}{% endif %}{% endmacro %}{{ r(3) }}
§ {% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{{ later }}{% endmacro %}{% set later = 7 %}{{ a() }}
§ {% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body {{ n }}{% endcall %}{% macro k() %}{{ caller(1, 2) }}{% endmacro %}{% call(x, y) k() %}{{ x + y }}{% endcall %}
§ {% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
§ {% macro m(x) %}{{ x }}{% endmacro %}{% call m(1) %}{% endcall %}
§ {% call n %}{% endcall %}
§ {% macro m(a, a) %}{% endmacro %}
§ {% macro m(a=1, b) %}{% endmacro %}
§ {% macro loopm() %}{% break %}{% endmacro %}
§ {% filter upper %}abc {{ n }}{% endfilter %}{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
§ {% generation %}gen {{ n }}{% set q = 1 %}{% endgeneration %}{{ q is defined }}
§ {% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}
§ {% block body %}in block {{ n }}{% endblock %}{% block two %}{% endblock two %}
§ {% block a %}{% endblock %}{% block a %}{% endblock %}
§ {% raw %}{{ not }} {% parsed %} {# at all #}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  |
§ a{# comment {{ x }} #}b{#- c -#}  d {# multi
line #}
after
§ {# unterminated
§ {% raw %} never
§ {{ 'unterminated }}
§ {{ n
§ {% if n %}
§ {% endif %}
§ {% for i in l %}{% endif %}
§ {% unknown %}
§ {{ }}
§ {{ n n }}
§ {{ n | }}
§ {{ n|nofilter }}
§ {% if no %}{{ n|nofilter }}{% endif %}ok
§ {% if yes %}{{ n|nofilter }}{% endif %}
§ {{ n|nofilter if no else 'fine' }}
§ {% for i in [] %}{{ n|nofilter }}{% endfor %}
§ {{ n is notest }}
§ {{ (1 }}
§ {{ [1 }}
§ {{ 1) }}
§ {{ @ }}
§ {{ 'a' if }}
§ {{ n.'x' }}
§ {% set %}
§ {% include 'x' %}
§ {% extends 'x' %}
§ {% if no %}{% include 'x' %}{% endif %}fine
§ {% do l %}
§ {{ "\\ud800" }}
   leading {% if yes %} x {% endif %}   trail
  {% if yes %}
    indented
  {% endif %}
last
§ a
{%- if yes -%}
   b
{%- endif +%}
c
§ {{- ' x ' -}}   {{- n }}
{%+ if yes %} y{% endif %}
z
§ line
    {% set x = 1 %}
    {{ x }}
    {# comment #}
  end

§ x {%- if yes %} y {%- endif %} z
§ trailing newline kept in middle {{ n }}

§ {{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ u|upper }} {{ 'ß ŉ ΑΣ İ ǆ'|upper }} {{ 'ΑΣ ΣΑ İ'|lower }} {{ 'ǆabc ßx'|capitalize }} {{ 'foo-bar (baz) [q] {r} <s> o\\'neil'|title }}
§ {{ '  x  '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ nil|trim }}|{{ 5|trim }}|{{ '\\u3000a\\u00a0'|trim }}|
§ {{ s|length }} {{ u|length }} {{ l|count }} {{ d|length }} {{ e|length }}
§ {{ 5|length }}
§ {{ nil|length }}
§ {{ l|map('string')|length }}
§ {{ l|first }} {{ l|last }} {{ s|first }} {{ s|last }} {{ empty|first }} {{ empty|last }}| {{ d|first }} {{ d|last }}
§ {{ l|map('string')|last }}
§ {{ l|join }} {{ l|join(', ') }} {{ people|join('-', attribute='name') }} {{ 'abc'|join('.') }} {{ d|join }} {{ mixed|join('|') }} {{ [missing, 1]|join(',') }}
§ {{ l|sort }} {{ l|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(attribute='age,name')|map(attribute='name')|list }} {{ d|sort }}
§ {{ mixed|sort }}
§ {{ words|unique|list }} {{ words|unique(true)|list }} {{ people|unique(attribute='age')|map(attribute='name')|join }} {{ [1, 1.0, true, '1']|unique|list }}
§ {{ l|min }} {{ l|max }} {{ words|min }} {{ words|max }} {{ people|max(attribute='age') }} {{ empty|max }}| {{ l|sum }} {{ people|sum(attribute='age') }} {{ [[1], [2]]|sum(start=[]) }} {{ [0.1, 0.2]|sum }}
§ {{ ['a']|sum }}
§ {{ l|reverse|list }} {{ s|reverse }} {{ d|reverse|list }} {{ range(3)|reverse|list }}
§ {{ l|list }} {{ 'ab'|list }} {{ d|list }} {{ d.items()|list }}
§ {{ d|dictsort }} {{ d|dictsort(true) }} {{ d|dictsort(false, 'value') }} {{ d|dictsort(reverse=true) }}
§ {{ d|dictsort(by='x') }}
§ {{ l|dictsort }}
§ {{ d|items|list }} {{ missing|items|list }}
§ {{ l|items|list }}
§ {{ people|selectattr('on')|map(attribute='name')|list }} {{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ people|rejectattr('on')|list|length }} {{ people|selectattr('tags', 'defined')|list|length }} {{ people|rejectattr('age', 'gt', 26)|map(attribute='name')|first }}
§ {{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ mixed|select('string')|list }} {{ mixed|select|list }} {{ l|select('gt', 1)|list }} {{ l|select('in', [1, 2])|list }}
§ {{ l|select('nope')|list }}
§ {{ l|map('nope')|list }}
§ {{ people|map(attribute='tags', default='none')|list }} {{ words|map('upper')|join(' ') }} {{ l|map('float')|list }} {{ [[1, 2], [3]]|map('join', '+')|list }}
§ {{ people|map(attribute='tags.0')|list }}
§ {{ people[:1]|map(attribute='tags.0')|list }}
§ {{ l|map|list }}
§ {% set g = l|map('string') %}{{ g|list }}{{ g|list }} {% if empty|map('string') %}true{% endif %} {{ l|map('string')|first }}
§ {{ (l|map('string'))[0] }}|{{ (l|select)|length is defined }}
§ {% for g in people|groupby('age') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }} {% endfor %}{% for k, v in people|groupby('age') %}{{ k }}{{ v|length }}{% endfor %}{{ words|groupby(0)|list|length }}{{ people|groupby('on', default=false)|length }}
§ {{ range(7)|batch(3)|list }} {{ range(7)|batch(3, 'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'f')|list }} {{ empty|batch(2)|list }}
§ {{ s|replace('l', 'L') }} {{ s|replace('l', 'L', 1) }} {{ 'aaa'|replace('', '-') }} {{ 5|replace('5', 'x') }} {{ s|replace('o', 0) }}
§ {{ text|indent }} {{ text|indent(2, true) }} {{ text|indent(2, blank=true) }} {{ text|indent('> ') }} {{ ''|indent }}| {{ 'a\\n'|indent }}|
§ {{ 5|indent }}
§ {{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1F'|int(base=16) }} {{ '1_0'|int }} {{ ' 12 '|int }} {{ 3.9|int }} {{ -3.9|int }} {{ nil|int }} {{ true|int }} {{ l|int(1) }} {{ 'ff'|int(0, 16) }} {{ '٣'|int }}
§ {{ missing|int }}
§ {{ '1.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ ' 1e3 '|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ '-Infinity'|float }} {{ '.5'|float }} {{ '1_0.5'|float }}
§ {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1) }} {{ 42|round }} {{ 42.1|round(0, 'ceil') }} {{ 42.9|round(method='floor') }} {{ 1234.5|round(-2) }} {{ 1250|round(-2) }} {{ 42.1234|round(2, 'ceil') }} {{ 5|round(1, 'floor') }}
§ {{ 2.5|round(0, 'x') }}
§ {{ 'x'|round }}
§ {{ missing|default('d') }} {{ nil|default('d') }} {{ nil|default('d', true) }} {{ e|d('x', boolean=true) }} {{ missing|default }}| {{ nested.q|default('z') }}
§ {{ 5|string ~ 1 }} {{ l|string }} {{ s|string is string }} {{ html|e }} {{ html|safe|e }} {{ html|forceescape }} {{ html|safe ~ '<' }} {{ (html|safe) + '<' }} {{ ('<'|safe) * 2 }} {{ '<' + ('<b>'|safe) }} {{ html|escape|upper }} {{ ('<%s>'|safe)|length }}
§ {{ '%s is %d years, %.2f%%, %5d|%-5d|%05d|%+d|%x|%X|%o|%e|%g|%r' % ('Bo', 30, 12.345, 42, 42, 42, 42, 255, 255, 8, 12345.678, 0.0001, 'q') }}
§ {{ '%s' % 5 }} {{ '%s' % nil }} {{ '%(a)s-%(b)s' % {'a': 1, 'b': 2} }} {{ '%s %s' % ('a', l) }} {{ '%*d' % (5, 1) }} {{ '%c%c' % (65, 'z') }} {{ '%5.1f|%-8s|%8s|' % (2.25, 'ab', 'cd') }} {{ '%s'|format('x') }} {{ '%(k)s'|format(k='v') }} {{ '%i %u' % (1.9, -2) }} {{ '%.3s' % 'abcdef' }} {{ '%#x %#o' % (255, 8) }} {{ '% d' % 5 }} {{ '%a' % 'é' }} {{ 'x' % [] }}
§ {{ '%d' % 'x' }}
§ {{ '%s %s' % 'a' }}
§ {{ '%s' % (1, 2) }}
§ {{ '%z' % 1 }}
§ {{ 'abc' % 1 }}
§ {{ '{} {}'.format(1, 'b') }} {{ '{0} {1} {0}'.format('a', 'b') }} {{ '{x} {y.z} {w[k]} {v[0]}'.format(x=1, y={'z': 2}, w={'k': 3}, v=[4]) }} {{ '{{}} {:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:+d}|{:,}|{:.2f}|{:x}|{:#x}|{:b}|{:%}|{:e}|{:g}|{!r}|{!s:>4}'.format(1, 2, 3, 'm', 42, 7, 1234567, 3.14159, 255, 255, 5, 0.25, 12345.678, 0.00001, 'q', 'w') }} {{ '{:{}}'.format('a', 4) }}| {{ '{:.3}'.format('abcdef') }} {{ '{:_}'.format(1234567) }} {{ '{:.3}'.format(12.0) }} {{ '{:>5}'.format(true) }} {{ '{}'.format(nil) }}
§ {{ '{}'.format() }}
§ {{ '{x}'.format(y=1) }}
§ {{ '{:d}'.format('a') }}
§ {{ '{'.format(1) }}
§ {{ '{:5}'.format(nil) }}
§ {{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ "they're bill's"|title }} {{ "they're bill's".title() }} {{ s.swapcase() }} {{ s.capitalize() }} {{ 'ßA'.casefold() }} {{ 'ǅ ß'.title() }}
§ {{ ' a b '.strip() }}| {{ ' a '.lstrip() }}| {{ ' a '.rstrip() }}| {{ 'xyaxy'.strip('yx') }} {{ 'aab'.lstrip('a') }} {{ 'baa'.rstrip('a') }} {{ ' a '.strip(none) }}|
§ {{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a b'.split(maxsplit=1) }} {{ 'aXXbXXc'.split('XX') }} {{ ' x y '.split(none, 0) }} {{ 'ab'.split(sep='b') }}
§ {{ 'a'.split('') }}
§ {{ 'a\\nb\\r\\nc\\u2028d'.splitlines() }} {{ 'a\\n'.splitlines(true) }} {{ ''.splitlines() }} {{ 'a\\n\\nb'.splitlines() }}
§ {{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
§ {{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('ell', 1) }} {{ s.endswith('lo', 0, 5) }} {{ s.startswith('') }} {{ s.startswith('', 99) }}
§ {{ s.startswith(1) }}
§ {{ s.find('o') }} {{ s.find('zz') }} {{ s.rfind('o') }} {{ s.index('W') }} {{ u.find('你') }} {{ s.find('o', 5) }} {{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.find('l', -3) }}
§ {{ s.index('zz') }}
§ {{ s.replace('o', '0') }} {{ s.replace('l', '', 1) }} {{ 'ab'.replace('', '-') }} {{ s.removeprefix('Hello ') }} {{ s.removesuffix('x') }} {{ ', '.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ ''.join([]) }}|
§ {{ ','.join([1]) }}
§ {{ 'ab'.center(7) }}| {{ 'ab'.center(6, '*') }} {{ 'abc'.center(6, '*') }} {{ 'ab'.ljust(4, '.') }} {{ 'ab'.rjust(4) }} {{ '-5'.zfill(4) }} {{ 'a\\tb'.expandtabs(4) }} {{ 'x'|center(5) }}|
§ {{ 'abc'.isalpha() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isalpha() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ 'Ab Cd'.istitle() }} {{ '½'.isnumeric() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ 'a_1'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\\n'.isprintable() }} {{ '你'.isalpha() }} {{ '1'.isupper() }}
§ {{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }} {{ d.copy() }} {{ 'a' in d.keys() }} {{ dict(d, z=9) }} {{ dict([('k', 1)]) }} {{ dict(a=1) == {'a': 1} }} {{ dict() }}
§ {{ l.index(1) }} {{ l.count(3) }} {{ l.copy() }} {{ (1, 2).index(2) }}
§ {{ l.append(4) }}
§ {% set _ = d.update({'x': 1}) %}
§ {{ d.pop('a') }}
§ {{ l.append }}|{{ s.__class__ }}|{{ d.__init__ }}|
§ {{ s.__class__.__mro__ }}
§ {{ ''.__class__() }}
§ {{ s.nope() }}
§ {{ l() }}
§ {{ s() }}
§ {{ n is odd }} {{ n is even }} {{ n is divisibleby 3 }} {{ n is divisibleby(2) }} {{ n is number }} {{ f is float }} {{ n is integer }} {{ yes is integer }} {{ yes is boolean }} {{ yes is true }} {{ no is false }} {{ 1 is true }} {{ nil is none }} {{ s is string }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ l is iterable }} {{ n is iterable }} {{ missing is iterable }} {{ missing is sequence }} {{ yes is number }}
§ {{ s is lower }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ n is eq 3 }} {{ n is equalto(3) }} {{ n is ne 4 }} {{ n is gt 2 }} {{ n is ge 3 }} {{ n is lt 3 }} {{ n is le 3 }} {{ n is in l }} {{ n is not in [1] }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ nil is sameas none }} {{ n is not none }} {{ missing is not defined }} {{ missing is undefined }} {{ range is callable }} {{ s is callable }} {{ html|safe is escaped }} {{ n is defined and n is not string }} {{ l|map('string') is iterable }} {{ l|map('string') is sequence }}
§ {{ n is odd is even }}
§ {{ s is odd }}
§ {{ missing is odd }}
§ {{ l|tojson }} {{ d|tojson }} {{ mixed|tojson }} {{ u|tojson }} {{ ctl|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ big|tojson }} {{ small|tojson }} {{ [1.0, 1e16, 1e22, 0.1, -0.0]|tojson }} {{ nil|tojson }} {{ (1, 2)|tojson }} {{ html|tojson }} {{ html|safe|tojson }} {{ {}|tojson }} {{ []|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}
§ {{ nested|tojson(indent=2) }} {{ mixed|tojson(indent=4) }} {{ {'a': [], 'b': {}}|tojson(indent=1) }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(separators=(',', ':')) }} {{ d|tojson(indent=2, separators=(',', ': ')) }} {{ l|tojson(indent='\\t') }} {{ l|tojson(indent=0) }} {{ d|tojson(false, 2) }}
§ {{ missing|tojson }}
§ {{ range(3)|tojson }}
§ {{ d.keys()|tojson }}
§ {{ {(1, 2): 3}|tojson }}
§ {{ namespace(a=1)|tojson }}
§ {{ {[1]: 2} }}
§ {{ d[[1]] }}|
§ {{ {1: 'int', '1': 'str'}[1] }} {{ {1: 'a'}[1.0] }} {{ {1: 'a'}[true] }} {{ {(1, 2): 'tuple'}[1, 2] }}
§ {% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }} {% set j = joiner('|') %}{{ j() }}x{{ j() }}y{{ j() }}
§ {{ cycler() }}
§ {{ raise_exception('my message') }}
§ {{ raise_exception }}{{ lipsum is callable }}
§ {{ strftime_now('%Y-%m-%d %H:%M:%S.%f %d %b %B %A %j %% %y %p') }}
§ {{ strftime_now(5) }}
§ {{ 'a'|upper|lower|title }} {{ -1|abs }} {{ 'x' ~ 1|string }} {{ not 'a'|upper == 'A' }} {{ 1 + 2|string|int }} {{ 'a' in 'abc'|upper }}
§ {{ s|truncate(8) }} {{ s|truncate(8, true) }} {{ s|truncate(8, leeway=0) }} {{ s|truncate(8, true, '!', 0) }} {{ s|wordcount }} {{ 'a b'|urlencode }} {{ {'a b': 'c&d'}|urlencode }} {{ '/x?y'|urlencode }} {{ 1000|filesizeformat }} {{ 1|filesizeformat }} {{ 123456789|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ '<p>a  b</p>'|striptags }} {{ d|attr('a') }}|{{ s|attr('upper') is callable }}
§ {{ range(3)|sum }} {{ 'abc'|batch(2)|list }} {{ [3, 1]|sort|join }} {{ [[2, 'b'], [1, 'a']]|sort }} {{ [1, [2]]|string }} {{ [true, false]|sort }} {{ ['b', 'A']|sort|first }}
§ {{ n.real }} {{ f.real }} {{ range(3).stop }} {{ d|map('upper')|list }} {{ 'a,b'.split(',')|map('trim')|list }}
§ {{ n }}{# x #}{{ f -}}   {{ s }}
§ {% print n, s %}{% set x = [1, 2] + [3] %}{{ x }}{% if x|length == 3 and x[0] == 1 or false %}ok{% endif %}
§ {% set x = {'a': {'b': [1, 2, {'c': 'd'}]}} %}{{ x.a.b[2].c }}{{ x['a']['b'][-1]['c'] }}{{ x.a.b[0:2] }}{{ (x.a)['b']|length }}
§ {% for m in people %}{% if loop.index0 % 2 == 0 %}{{ m.name }}{% elif m['age'] > 20 %}{{ m.age }}{% endif %}{% if not loop.last %};{% endif %}{% endfor %}
§ {{ people[0]['name'] + people[-1].name }} {{ people|map(attribute='name')|map('lower')|sort|join('/') }} {{ people[1:]|length }}
§ {{ s.split(' ')[-1].lstrip('W').upper()[:2] }} {{ (s ~ '!').split('o')|last }} {{ 'a</think>b'.split('</think>')[-1].lstrip('\\n') }}
§ {{ true }}{{ True }}{{ none }}{{ None }}{{ false|string }}{{ 1 == true }}{{ '1' == 1 }}
§ {{ 170141183460469231731687303715884105727 }} {{ 2 ** 100 }} {{ 9223372036854775807 + 1 }} {{ 10 ** 20 // 3 }}
§ {{ 'abc'[5] is defined }} {{ 'abc'[1:][0] }} {{ ('a', 'b')[1] }} {{ [1, 2, 3][-2] }} {{ {'a': none}.a is none }} {{ d.missing is defined }}
§ {%- set tool_names = [] -%}{%- for p in people -%}{%- set tool_names = tool_names + [p.name] -%}{%- endfor -%}{{ tool_names }}
§ {% set ns = namespace(items=[]) %}{% for p in people %}{% set ns.items = ns.items + [p.name] %}{% endfor %}{{ ns.items|join(',') }}
§ {% macro render(v, depth=0) %}{% if v is mapping %}{{ '{' }}{% for k, x in v.items() %}{{ k }}:{{ render(x, depth + 1) }}{% if not loop.last %},{% endif %}{% endfor %}{{ '}' }}{% elif v is iterable and v is not string %}[{% for x in v %}{{ render(x, depth + 1) }}{% if not loop.last %},{% endif %}{% endfor %}]{% else %}{{ v }}{% endif %}{% endmacro %}{{ render(nested) }} {{ render(mixed) }}
§ {% set x %}{% for i in l %}{{ i }}{% endfor %}{% endset %}{{ x|length }}{{ x + '!' }}{{ x is string }}{{ x is escaped }}
§ {% macro m() %}{% set inner = 1 %}{{ inner }}{% endmacro %}{{ m() }}{{ inner is defined }}{{ m() is string }}{{ m()|length }}
§ {{ m() }}{% macro m() %}x{% endmacro %}
§ {{ (l|list)[0] }}{{ [x for x in l] }}
§ {{ lambda: 1 }}
§ {% for i in l %}{{ i }}{% endfor -%}
   x
§ {{ "a\\
b" }}
§ {{ s|replace(' ', '_')|lower ~ '-' ~ n * 2 }}
§ {{ loop }}|{{ caller }}|{{ varargs }}|
§ {{ 1.0 }}{{ 1.50 }}{{ 100.0 }}{{ 1e3 }}{{ .5 }}
§ {{ 1 if 1 else 2 if 2 else 3 }} {{ (1 if 0 else 2) + 1 }} {{ 'a' ~ ('b' if yes) }}
§ {{ 1 .real }}{{ 2.0.real }}
§ {{ f(1) }}
§ {{ m(**{'a': 1}) }}
§ {% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(5, **{'b': 6}) }}{{ m(*[7], b=8) }}
§ {% for i in [1] %}{{ n }}{{ s }}{% endfor %}{% set n = 5 %}{% for i in [1] %}{{ n }}{% endfor %}{% if yes %}{% set s = 6 %}{% endif %}{{ s }}
§ {% macro m() %}[{{ n }}]{% endmacro %}{{ m() }}{% set n = 5 %}{{ m() }}
§ {% if n %}{{ n }}{% set n = 5 %}{% endif %}{{ n }}{% if no %}{% set f = 1 %}{% elif f %}{{ f }}{% else %}{% set f = 2 %}{% endif %}{{ f }}
§ {% set q %}{% filter upper %}{{ s }}{% endfilter %}{% set s = f %}{{ s }}{% endset %}{{ q }}
§ {% for i in l %}{% for j in [1] %}{{ y }}{{ n }}{% endfor %}{% set y = i %}{% if i > 1 %}{% set n = i %}{% endif %}{{ n }}{% endfor %}{{ n }}
§ {% with n = n %}{{ n }}{% for i in [1] %}{{ z }}{% endfor %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}
§ {% block b %}{{ n }}{% for i in [1] %}{{ s }}{% endfor %}{% set s = 1 %}{% endblock %}
§ {% for i, j in [[1, 2], 'ab'] if j %}{{ loop.nextitem }}{{ i }}{% endfor %}{{ -1 ** small }} {{ -2 ** n }} {{ (-2) ** 2 }} {{ range(4).count(2) }} {{ '%%' % range(4) }} {{ missing.__class__ }}
§ {{ l is filter }}
§ {{ s | upper }}{{ s|  trim  |length }}{{s|upper}}{{- n -}}{{+ n }}
""".strip("\n")


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(source):
    """The text, or None where jinja2 or Python raises."""
    try:
        template = chat_template_utils._compile_jinja_template(source)
        text = template.render(**VARIABLES)
        text.encode()  # half a surrogate pair, which Python's str may hold, has no UTF-8
        return text
    except Exception:  # the errors of the template, whatever they are
        return None


def write_seeds(templates, folder):
    """A dozen files of templates that render, in the form of fuzz_template: source, NUL, JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo", "tool_calls": [{"id": 1}]}]
    variables = json.dumps({"messages": messages, **VARIABLES}, ensure_ascii=False)
    num_files = 12
    for index in range(num_files):
        source = "\n".join(templates[index::num_files])
        (folder / f"constructs_{index}").write_bytes(source.encode() + b"\0" + variables.encode())


def main():
    chat_template_utils.datetime = FixedClock
    sources = [part[1:] if part.startswith(" ") else part for part in TEMPLATES.split("§")]
    rows = []
    for source in sources:
        for form in {source.rstrip("\n"), source.rstrip("\n").replace("\n", "\r\n")}:
            text = render(form)
            if text is not None and (" at 0x" in text or "<function" in text):
                continue  # addresses and names of Python's own
            rows.append({"template": form, "text": text})
    rows.sort(key=lambda row: row["template"])
    goldens = {
        "versions": {"jinja2": jinja2.__version__, "transformers": transformers.__version__},
        "now": NOW.isoformat(),
        "variables": VARIABLES,
        "templates": rows,
    }
    text = json.dumps(goldens, ensure_ascii=False, separators=(",", ":")).replace('},{"template"', '},\n{"template"')
    Path(sys.argv[1]).write_text(text + "\n")
    write_seeds([row["template"] for row in rows if row["text"] is not None], Path(sys.argv[2]))
    print(f"{len(rows)} templates, {sum(row['text'] is None for row in rows)} of which raise")


if __name__ == "__main__":
    main()
