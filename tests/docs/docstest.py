# The cases of tests/docs/run, which has built the HTML
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the documents: docstest.py VERSION."""

import glob
import html.parser
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADER = TOP / 'include/hw/virtio/virtio-serial-desc-wire.h'

# Our pages among QEMU's, and the index that has to lead to each
PAGES = {
    'system/devices/virtio-serial-desc': 'system/device-emulation',
    'specs/virtio-serial-desc': 'specs/index',
}

# The characters of a line of code that the theme shows without a scroll bar
CODE_WIDTH = 110

# Elements that have no end
VOID = {'area', 'base', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta'}


class Sum:
    """Prints a line for each case, and what is wrong below it."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def case(self, name, problems):
        """`problems` is a list of what is wrong, empty if nothing is."""
        if problems:
            self.failed += 1
            print(f'not ok {name}')
            for problem in problems:
                print(f'  | {problem}')
        else:
            self.passed += 1
            print(f'ok {name}')

    def skip(self, name, reason):
        self.skipped += 1
        print(f'skip {name} - {reason}')


# ----------------------------------------------------------------------
# QEMU's manual

class Page(html.parser.HTMLParser):
    """An HTML page: `ids` that a link can name, `links` of the text proper (not
    of the theme's menus), the `text` that is not code, and `blocks` of code."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.text, self.blocks = set(), set(), [], []
        self.open = []          # a pair for each element: its name, its role
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'pre':
            self.blocks.append('\n')
        if 'id' in attrs:
            self.ids.add(attrs['id'])
        if tag not in VOID:
            self.open.append((tag, attrs.get('role')))
        if tag == 'a' and self.inside('main'):
            self.links.add(attrs.get('href', ''))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.inside('pre'):
            self.blocks.append(data)
        elif self.inside('main') and not self.inside('code'):
            self.text.append(data)

    def inside(self, *what):
        return any(tag in what or role in what for tag, role in self.open)


def check_warnings(sums, series, out):
    warnings = (out / 'warnings').read_text().splitlines()
    sums.case(f'sphinx-{series}/no-warnings', warnings)


def check_page(sums, series, html_dir, name, index):
    """A page of ours is there, is linked and links, and shows no markup."""
    path = html_dir / f'{name}.html'
    title = f'sphinx-{series}/{name}'
    if not path.exists():
        sums.case(f'{title}/exists', ['sphinx made no such page'])
        return
    page = Page(path)

    index_path = html_dir / f'{index}.html'
    targets = {(index_path.parent / link.partition('#')[0]).resolve()
               for link in Page(index_path).links}
    sums.case(f'{title}/in-index',
              [] if path.resolve() in targets else
              [f'{index}.html has no link to it'])

    other, = (each for each in PAGES if each != name)
    problems, targets = [], set()
    for link in sorted(page.links):
        url = urllib.parse.urlparse(link)
        # The theme's link to the page's source is for QEMU's own pages
        if url.scheme:
            continue
        target = (path.parent / url.path).resolve() if url.path else path
        targets.add(target)
        if not target.exists():
            problems.append(f'{link}: no such file')
        elif url.fragment and url.fragment not in Page(target).ids:
            problems.append(f'{link}: no such place there')
    if (html_dir / f'{other}.html').resolve() not in targets:
        problems.append(f'no link to {other}.html')
    sums.case(f'{title}/links', problems)

    # What reStructuredText did not take for markup, or could not resolve
    text = ''.join(page.text)
    sums.case(f'{title}/no-markup',
              [f'in the text: {match[0]}' for match in
               re.finditer(r'\|\w+\||``|:\w+:`|`_|\*\*|^\.\. .*$', text, re.M)])

    sums.case(f'{title}/code-fits',
              [f'{len(line)} characters: {line}' for line in
               ''.join(page.blocks).splitlines() if len(line) > CODE_WIDTH])


# ----------------------------------------------------------------------
# Markdown

def slug(heading):
    """The anchor that a heading gets where such files are rendered."""
    heading = re.sub(r'[`*]|\[([^]]*)\]\([^)]*\)', r'\1', heading)
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def without_code_blocks(text):
    text = re.sub(r'^(```|~~~).*?^\1', '', text, flags=re.M | re.S)
    return re.sub(r'^ {4}.*$', '', text, flags=re.M)


def anchors(path):
    text = without_code_blocks(path.read_text())
    return {slug(line.lstrip('#')) for line in text.splitlines()
            if line.startswith('#')}


def link_problem(file, target):
    """What is wrong with the link to `target` in `file`, None if all is well"""
    url = urllib.parse.urlparse(target)
    if url.scheme:
        return None
    path = file.parent / url.path if url.path else file
    if not path.exists():
        return f'{target}: no such file'
    if url.fragment and url.fragment not in anchors(path):
        return f'{target}: no such heading'
    return None


# In capitals: a part of a path that the reader fills in
PLACEHOLDER = r'\b[A-Z]{3,}\b'


def path_problem(name, tree):
    """What is wrong with what stands in code, if it is the name of a file of
    ours, or of one in a QEMU tree; `name` may end in arguments"""
    name = name.split()[0]
    first = name.partition('/')[0]
    if '/' not in name or not first or first == 'build' or \
            not (TOP / first).is_dir() or re.search(r'[^\w./*-]', name):
        return None
    pattern = re.sub(PLACEHOLDER, '*', name)
    if any(glob.glob(str(top / pattern)) for top in (TOP, tree)):
        return None
    return f'`{name}`: no such file'


# A path of ours, or of a QEMU tree, in any text
POINTER = re.compile(
    r'(?<![\w./*$}{~-])'
    r'((?:debian|docs|guest|hw|include|patches|scripts|tests)/[\w./-]*\w'
    r'\.(?:build|c|conf|h|hwdb|md|patch|py|rst|rules|service|xml))\b')

# What speaks of other trees: of Linux, of the virtio specification, of QEMU as a
# patch changes it, of trees that a test makes
OTHER_TREES = re.compile(r'(guest/linux/|tests/linux/|tests/scripts/|docs/virtio-spec/)'
                         r'|.*\.(patch|fixup)$')


# Headers of QEMU's master, where the trees of released versions have another path
NEWER_HEADERS = {'hw/core/qdev-properties.h', 'hw/usb/usb.h'}


def tracked(*patterns):
    """What is committed, and what may be: not what is below build/"""
    names = subprocess.run(['git', '-C', TOP, 'ls-files', '-zco',
                            '--exclude-standard', *patterns],
                           check=True, capture_output=True, text=True).stdout
    return [TOP / name for name in sorted(names.split('\0')[:-1])
            if (TOP / name).is_file()]


def check_pointers(sums, tree):
    """Each file that a document, a comment or a program names is there."""
    problems = []
    for file in tracked():
        name = str(file.relative_to(TOP))
        text = file.read_bytes().decode(errors='replace')
        if OTHER_TREES.match(name) or '\0' in text:
            continue
        problems += [f'{name}: {path}' for path in sorted(set(POINTER.findall(text)))
                     if path not in NEWER_HEADERS and not any(
                         any(top.glob(re.sub(PLACEHOLDER, '*', path)))
                         for top in (TOP, TOP / 'include', tree, tree / 'include'))]
        # It is no file of this repository
        problems += [f'{name}: {match[0]}' for match in
                     re.finditer(r'\bdesign\.md\b|[Ss]ection \d+ of the design', text)
                     if file != pathlib.Path(__file__).resolve()]
    sums.case('pointers', problems)


def check_readme(sums):
    """README.md can be read in one go."""
    length = len((TOP / 'README.md').read_text().splitlines())
    sums.case('readme/length', [f'{length} lines; expected fewer than 100']
              if length >= 100 else [])


def check_version(sums):
    """The version is the same wherever it stands."""
    found = {name: re.search(pattern, (TOP / name).read_text(), re.M)[1]
             for name, pattern in (
                 ('meson.build', r"^ +version: '([\d.]+)'"),
                 ('debian/changelog', r'\(([\d.]+)\)'),
                 ('NEWS.md', r'^## ([\d.]+)'))}
    sums.case('version', [] if len(set(found.values())) == 1 else
              [f'{name}: {version}' for name, version in found.items()])


def sentences(text):
    """The sentences of a document, without its code; a table's cell is one"""
    # A simple table's rows are no sentences: rule, head, rule, rows, rule
    text = re.sub(r'^(=+ +=+)\n.*?\n\1\n.*?\n\1\n', '', text, flags=re.M | re.S)
    text = re.sub(r'^\.\. (code-block|parsed-literal)::.*?(?=^\S)', '', text,
                  flags=re.M | re.S)
    for block in re.split(r'\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) |#|\|)', text):
        cells = block.split('|') if block.lstrip().startswith('|') else [block]
        for cell in cells:
            yield from re.split(r'(?<=[.!?:;]) ', ' '.join(cell.split()))


def check_prose(sums, file):
    """What can be counted of a sentence that is hard to read."""
    text = file.read_text()
    if file.suffix == '.md':
        text = without_code_blocks(text)
    sums.case(f'prose/{file.relative_to(TOP)}',
              [f'"that" more than once: {sentence}' for sentence in sentences(text)
               if len(re.findall(r'\bthat\b', sentence)) > 1])


def check_markdown(sums, file, tree):
    text = without_code_blocks(file.read_text())
    spans = re.findall(r'`(\S[^`\n]*)`', text)
    links = re.findall(r'\]\(([^)\s]+)\)', re.sub(r'`[^`\n]+`', '', text))
    problems = [link_problem(file, link) for link in links] + \
               [path_problem(span, tree) for span in spans]
    sums.case(f'links/{file.relative_to(TOP)}', [p for p in problems if p])


# ----------------------------------------------------------------------
# The proposal for the virtio specification, a patch

class Proposal:
    """`added`: what the patch adds to each file, as one text"""

    def __init__(self, path):
        self.path = path
        self.added = {}
        lines = []
        for line in path.read_text().splitlines():
            if line.startswith('+++ b/'):
                lines = self.added.setdefault(line[len('+++ b/'):], [])
            elif line.startswith('+'):
                lines.append(line[1:])
        self.added = {name: '\n'.join(lines) + '\n'
                      for name, lines in self.added.items()}

    @property
    def chapter(self):
        return self.added['device-types/console/description.tex']


def defined_labels(text):
    labels = set(re.findall(r'\\label\{([^}]*)\}', text))
    for who, label in re.findall(
            r'\\(driver|device)normative\{[^}]*\}\{[^}]*\}\{([^}]*)\}', text):
        labels.add(f'{who}normative:{label}')
    return labels


def references(text):
    return set(re.findall(r'\\(?:name)?ref\{([^}]*)\}', text)) | \
        set(re.findall(r'\\hyperref\[([^]]*)\]', text))


def check_references(sums, proposal):
    """Every reference leads to something that the proposal brings, and every
    normative section that it brings is in the list of those to conform to."""
    text = '\n'.join(proposal.added.values())
    labels = defined_labels(text)
    problems = [f'{name}: no such label'
                for name in sorted(references(text) - labels)]
    for label in sorted(labels):
        who = label.partition('normative:')[0]
        if who in ('driver', 'device') and label not in references(
                proposal.added[f'device-types/console/{who}-conformance.tex']):
            problems.append(f'{label}: not in {who}-conformance.tex')
    sums.case('virtio-spec/references', problems)


def check_keywords(sums, proposal):
    """The words of RFC 2119 stand in normative sections only, and there each
    paragraph that is no note or list has one and says of whom."""
    problems, normative = [], None
    for block in proposal.chapter.split('\n\n'):
        heading = re.match(r'\\(driver|device)normative|\\sub\w*section', block)
        if heading:
            normative = heading[1]
            continue
        words = re.findall(r'\b(?:MUST|SHOULD|MAY|REQUIRED|SHALL)\b', block)
        start = block.strip().partition('\n')[0]
        # What the patch adds to a section that is there already follows ours
        if block.startswith('The fields in struct'):
            normative = 'both'
        if words and not normative:
            problems.append(f'{words[0]} outside normative text: {start}')
        if normative in ('driver', 'device') and start and not words and \
                not start.startswith('\\begin{note}'):
            problems.append(f'nothing normative in: {start}')
    sums.case('virtio-spec/keywords', problems)


def check_numbers(sums, proposal):
    """The numbers and the structure are those of our header."""
    header = HEADER.read_text()
    value = dict(re.findall(r'#define (VIRTIO_\w+)\s+(\d+)$', header, re.M))
    fields = re.search(r'struct virtio_console_port_desc \{(.*?)\}', header,
                       re.S)[1]
    fields = re.findall(r'uint(\d+)_t (\w+)(\[\])?;', fields)
    fragment = 8 + sum(int(bits) // 8 for bits, _, array in fields
                       if not array)
    expected = [
        f"VIRTIO_CONSOLE_F_PORT_DESC ({value['VIRTIO_CONSOLE_F_PORT_DESC']})",
        f"VIRTIO_CONSOLE_PORT_DESC ({value['VIRTIO_CONSOLE_PORT_DESC']})",
        f"at most\n{value['VIRTIO_SERIAL_DESC_MAX']} bytes long",
        f"greater than {value['VIRTIO_SERIAL_DESC_MAX']}",
        f'the {fragment} bytes before it',
        f'used length to {fragment},',
        f'is {fragment + 1}\nbytes',
        f'at least {fragment + 1} bytes',
        f'less than {fragment + 1}.',
    ]
    problems = [f'not there: {text!r}' for text in expected
                if text not in proposal.chapter]
    struct = re.search(r'struct virtio_console_port_desc \{(.*?)\}',
                       proposal.chapter, re.S)[1]
    ours = [(f"{'le' if int(bits) > 8 else 'u'}{bits}", name + array)
            for bits, name, array in fields]
    theirs = re.findall(r'(\w+) (\w+(?:\[\])?);', struct)
    if ours != theirs:
        problems.append(f'the structure is {theirs}, not {ours}')
    sums.case('virtio-spec/numbers', problems)


def check_latex(sums, proposal):
    """chktex finds nothing in what is added, within what it lacks to be a text
    of its own."""
    problems = []
    for name, text in proposal.added.items():
        # Rows of a table and items of a list
        head, tail = ('\\begin{longtable}{ll}\n', '\\end{longtable}\n') \
            if name == 'introduction.tex' else ('', '')
        if name.endswith('conformance.tex'):
            head, tail = '\\begin{itemize}\n', '\\end{itemize}\n'
        # Without what it has to say about looks: a space before \ref (2), after
        # a full stop (12, 13), 0x02 (29)
        run = subprocess.run(
            ['chktex', '-q', '-I0', '-f', '%l: %m\n',
             '-n2', '-n12', '-n13', '-n29'],
            input=head + text + tail, capture_output=True, text=True)
        problems += [f'{name}: {line}' for line in
                     (run.stdout + run.stderr).splitlines()]
    sums.case('virtio-spec/latex', problems)


def check_applies(sums, proposal):
    """As a patch it is well-formed, and applies to the specification."""
    run = subprocess.run(['git', 'apply', '--numstat', proposal.path],
                         capture_output=True, text=True)
    problems = run.stderr.splitlines()
    problems += [f'white space at the end of: {line}'
                 for text in proposal.added.values()
                 for line in text.splitlines() if line != line.rstrip()]
    sums.case('virtio-spec/well-formed', problems)

    spec = os.environ.get('VIRTIO_SPEC')
    if not spec:
        sums.skip('virtio-spec/applies',
                  'VIRTIO_SPEC names no clone of the virtio specification')
        return
    run = subprocess.run(['git', '-C', spec, 'apply', '--check',
                          proposal.path], capture_output=True, text=True)
    sums.case('virtio-spec/applies', run.stderr.splitlines())


def main(series):
    sums = Sum()
    out = TOP / f'build/docs-{series}'

    check_warnings(sums, series, out)
    for name, index in PAGES.items():
        check_page(sums, series, out / 'html', name, index)

    tree = TOP / f'build/qemu-{series}'
    for file in tracked('*.md'):
        check_markdown(sums, file, tree)
    for file in tracked('*.md', '*.rst'):
        check_prose(sums, file)
    check_pointers(sums, tree)
    check_readme(sums)
    check_version(sums)

    proposal = Proposal(next(TOP.glob('docs/virtio-spec/*.patch')))
    for check in (check_references, check_keywords, check_numbers, check_latex,
                  check_applies):
        check(sums, proposal)

    print(f'{sums.passed} passed, {sums.failed} failed, '
          f'{sums.skipped} skipped')
    return 1 if sums.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
