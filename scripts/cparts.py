# Cut a C file in two, so that a long file of tests is more than one mail.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The first part of a C file: what it is before its last functions come.

The functions after a given one are left out: of tests those that are named test_*, of
other files those that are not static. What only these functions use is left out too, and
so are the lines that register them. The rest compiles without a warning of what is
unused.
"""

import re

NAME = re.compile(r'[A-Za-z_]\w*')
ATTRIBUTE = re.compile(r'\bG_GNUC_\w+(\([^()]*\))?')
# What is no code; a string may have a brace or a name in it
NO_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_of(text):
    """`text` with blanks for comments and strings, at the same places"""
    return NO_CODE.sub(lambda found: re.sub(r'[^\n]', ' ', found[0]), text)


class Item:
    """A definition, a declaration or a directive, with the comment before it"""

    def __init__(self, text):
        self.text = text
        code = code_of(text)
        self.uses = set(NAME.findall(code))
        self.head = ATTRIBUTE.sub('', re.split(r'[{=]', code, maxsplit=1)[0]).strip()
        self.is_static = self.head.startswith('static ')
        self.is_comment = not code.strip()
        self.function = None
        self.names = self.defined(code.strip())

    def defined(self, code):
        """The names that the item defines"""
        macros = re.findall(r'^#\s*define\s+(\w+)', code, re.M)
        if code.startswith('#'):
            # All of an #if is one item
            return set(macros) | set(re.findall(r'^(?:static .*?|\w+ )\*?(\w+)\(', code, re.M))
        if re.match(r'enum\b', code):
            return set(NAME.findall(code)) - {'enum'}
        if code.startswith('typedef'):
            return set(NAME.findall(code.split('{')[0])[2:]) | \
                set(re.findall(r'(\w+);$', code))
        call = re.match(r'[A-Z_]+\((\w+),.*\)$', self.head.rstrip(';').strip(), re.S)
        if call:
            # As G_DEFINE_AUTOPTR_CLEANUP_FUNC: it belongs to a type
            return {call[1]}
        if re.match(r'(struct|union)\b[^=(]*\{', code):
            return set(NAME.findall(self.head))
        found = re.search(r'(\w+)\s*\(', self.head)
        if found and '{' in code and not re.search(r'=', code[:code.index('{')]):
            self.function = found[1]
        if found:
            return {found[1]}
        # An object, perhaps of a struct that is defined with it
        while re.search(r'\{[^{}]*\}', code):
            code = re.sub(r'\{[^{}]*\}|\[[^]]*\]', '', code)
        return set(NAME.findall(code.split('=')[0])[-1:])


def items_of(text):
    """The items of a file, in order"""
    items, start, depth, ifs = [], 0, 0, 0
    lines, codes = text.splitlines(True), code_of(text).splitlines()
    comment = False
    for i, code in enumerate(codes):
        blank = not lines[i].strip()
        directive = re.match(r'\s*#\s*(if|endif)', code)
        ifs += {'if': 1, 'endif': -1}[directive[1]] if directive else 0
        depth += len(re.findall(r'[{(]', code)) - len(re.findall(r'[})]', code))
        before = ''.join(codes[start:i + 1]).strip()
        # A comment that has a blank line behind it stands alone
        comment = not before and bool(''.join(lines[start:i + 1]).strip())
        ends = depth == 0 and ifs == 0 and (
            (comment and blank) or
            (before and (before[0] == '#' or code.rstrip()[-1:] in ('}', ';', ')')) and
             not lines[i].rstrip().endswith('\\')))
        if ends and before and before[0] != '#' and code.rstrip()[-1:] == ')':
            # A call of a macro, no first line of a function
            ends = re.match(r'[A-Z_]+\(', before)
        if ends:
            items.append(Item(''.join(lines[start:i + 1])))
            start = i + 1
    if ''.join(lines[start:]).strip():
        items.append(Item(''.join(lines[start:])))
    return items


def groups(text):
    """Each pair of braces in `text`: where it begins, where it ends, how deep it is"""
    code, open_at, result = code_of(text), [], []
    for i, char in enumerate(code):
        if char == '{':
            open_at.append(i)
        elif char == '}':
            result.append((open_at.pop(), i + 1, len(open_at)))
    return result


def without_line(text, start, end):
    """`text` without start to end, the rest of these lines, a comment right before"""
    start = text.rindex('\n', 0, start) + 1
    end = text.index('\n', end) + 1
    before = re.search(r'(?:^[ \t]*/\*(?:(?!\*/).)*\*/\n)\Z', text[:start], re.S | re.M)
    return text[:before.start() if before else start] + text[end:]


def without_entries(text, absent):
    """A table without the entries that name one of `absent`"""
    for start, end, depth in sorted(groups(text), reverse=True):
        if depth == 1 and absent & set(NAME.findall(code_of(text[start:end]))):
            text = without_line(text, start, end)
    return text


def without_calls(text, absent):
    """A function without the statements that name one of `absent`; of a block inside the
    function, all goes"""
    while True:
        code = code_of(text)
        found = next((m for m in NAME.finditer(code, code.index('{'))
                      if m[0] in absent), None)
        if not found:
            # An #ifdef in which nothing is left
            return re.sub(r'^#if.*\n#endif.*\n', '', text, flags=re.M)
        blocks = [(start, end) for start, end, depth in groups(text)
                  if depth > 0 and start < found.start() < end and
                  not code[:start].rstrip().endswith('=')]
        if blocks:
            start, end = max(blocks)
            head = code.rindex('\n', 0, start) + 1
            text = without_line(text, start if code[head:start].strip() == '' else head, end)
        else:
            start = max(code.rfind(mark, 0, found.start()) for mark in ';{}') + 1
            start += len(text[start:]) - len(text[start:].lstrip())
            if code[start:].startswith('#'):
                start = code.index('\n', start) + 1
            text = without_line(text, max(start, text.rindex('\n', 0, found.start())
                                          if '\n' not in text[start:found.start()] else start),
                                code.index(';', found.end()) + 1)


def text_up_to(text, last):
    """The file up to the function `last`, which does not compile by itself, or None"""
    items = items_of(text)
    place = next((i for i, item in enumerate(items) if item.function == last), None)
    return None if place is None else ''.join(item.text for item in items[:place + 1])


def first_part(text, last):
    """The file with the functions up to `last`, or None if it has no such function"""
    items = items_of(text)
    place = next((i for i, item in enumerate(items) if item.function == last), None)
    if place is None:
        return None
    is_test = last.startswith('test_')
    later = [item for item in items[place + 1:] if item.function]
    absent = {item.function for item in later
              if (item.function.startswith('test_') if is_test else not item.is_static)}
    entry = {'main'} | set(re.findall(r'^libqos_init\((\w+)\)', text, re.M))
    # A function that registers some of these, and is called by the one that does so
    while True:
        more = {item.function for item in later if item.is_static and is_test and
                item.function not in entry and item.uses & absent} - absent
        if not more:
            break
        absent |= more
    left = []
    for item in items:
        if item.function in absent:
            continue
        if item.function and item.uses & absent and item.function in entry:
            item = Item(without_calls(item.text, absent))
        elif not item.function and item.uses & absent:
            item = Item(without_entries(item.text, absent))
        left.append(item)

    wanted = set()
    reached = [item for item in left if item.function and
               (not item.is_static or item.function in entry)]
    while reached:
        names = set().union(*(item.uses for item in reached)) - wanted
        wanted |= names
        reached = [item for item in left if item.names & names]

    result = []
    for item in left:
        is_kept = item.is_comment or item.function in entry or item.names & wanted or \
            (item.function and not item.is_static) or \
            re.match(r'\s*(#\s*include|libqos_init)', code_of(item.text))
        if not is_kept:
            continue
        # The title of a section that is empty now
        if item.is_comment and result and result[-1].is_comment and len(result) > 1:
            result.pop()
        result.append(item)
    while result[-1].is_comment:
        result.pop()
    # No two empty lines where something was between them
    return re.sub(r'\n{3,}', '\n\n', ''.join(item.text for item in result))
