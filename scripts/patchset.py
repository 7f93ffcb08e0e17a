#!/usr/bin/env python3
# Make the mails of a version of QEMU from patches/, and patches/ from commits.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later
"""patches/ as mails, and mails as patches/ (docs/porting.md describes patches/).

patchset.py numbers VERSION          the numbers of the patches of that version
patchset.py compose VERSION DIR      the mails for "git am", NUMBER.patch each; in
                                     DIR/full, those without the version's fix-ups
patchset.py states VERSION DIR       the new files as they are after each patch, in
                                     DIR/NUMBER; in DIR/NUMBER.new, which come with it
patchset.py write VERSION TREE       write the commits of TREE after "pristine" back
patchset.py write-for-all VERSION TREE OLD
                                     the same for an older version, but what changed in
                                     TREE since commit OLD, which patches/ made, is for
                                     all versions
patchset.py maintainers TREE         have QEMU's MAINTAINERS there have our entries, as far
                                     as it has the files
patchset.py part FILE FUNCTION       FILE as it is before what follows FUNCTION comes
patchset.py up-to FILE FUNCTION      FILE up to the end of FUNCTION, which does not compile
patchset.py check                    is all of patches/ consistent? With QEMU_GIT, are the
                                     commits of Fixes: there?
"""

import difflib
import fnmatch
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import cparts

TOP = pathlib.Path(__file__).resolve().parents[1]
PATCHES = TOP / 'patches'
FILES = PATCHES / 'series' / 'files'
# The directories with new files
ROOTS = ('hw', 'include/hw', 'docs/system', 'docs/specs', 'tests/qtest',
         'tests/unit', 'tests/functional/x86_64')
SUBJECT_MAX = 52


class Stale(Exception):
    """A file in patches/ does not fit the rest any more."""


def die(text):
    sys.exit(f'patchset.py: {text}')


def say(text):
    print(text, file=sys.stderr)


def relative(path):
    return path.relative_to(TOP)


def run(command, **kwargs):
    return subprocess.run(command, capture_output=True, check=False, **kwargs)


# ----------------------------------------------------------------------
# The list of versions

def versions():
    lines = (PATCHES / 'versions').read_text().splitlines()
    return [line.split()[0] for line in lines if line and line[0] != '#']


def places(version):
    """The directories in which the patches of `version` are searched, in order."""
    names = versions()
    if version not in names:
        die(f"'{version}' is not in patches/versions")
    older = names[1:names.index(version) + 1]
    return [PATCHES / name for name in reversed(older)] + [PATCHES]


# ----------------------------------------------------------------------
# Patches

class FileDiff:
    """The diff of one file in a patch."""

    def __init__(self, text):
        parts = re.split(r'^(?=@@ )', text, flags=re.M)
        self.head, self.hunks = parts[0], parts[1:]
        self.path = re.match(r'diff --git a/(\S+) ', text)[1]

    def __str__(self):
        return self.head + ''.join(self.hunks)


def hunk_id(hunk):
    """A text that is the same for the same lines, wherever they stand."""
    return hashlib.sha256(hunk.split('\n', 1)[1].encode()).hexdigest()[:12]


class Patch:
    """A mail: a text, then diffs."""

    def __init__(self, text):
        parts = re.split(r'^(?=diff --git )', text, flags=re.M)
        self.text, self.diffs = parts[0], [FileDiff(part) for part in parts[1:]]

    def __str__(self):
        return self.text + ''.join(str(diff) for diff in self.diffs)

    def message(self):
        """The message without the date, which is not about the change"""
        return re.sub(r'^(From|Date): .*\n|^From \S+ .*\n', '', self.text, flags=re.M)


class Fixup(Patch):
    """The hunks that an older version has instead of some hunks of a patch.

    "instead-of: FILE ID" names each of those; the diffs come after what is left.
    """

    INSTEAD = re.compile(r'^instead-of: (\S+) ([0-9a-f]+)\n', re.M)

    def __init__(self, text):
        super().__init__(text)
        self.instead = self.INSTEAD.findall(self.text)

    def reason(self):
        return self.INSTEAD.sub('', self.text).strip()

    def applied_to(self, patch):
        """The patch with the fix-up, or Stale"""
        left = set(self.instead)
        result = Patch(str(patch))
        for diff in result.diffs:
            kept = [hunk for hunk in diff.hunks
                    if (diff.path, hunk_id(hunk)) not in left]
            left -= {(diff.path, hunk_id(hunk)) for hunk in diff.hunks}
            diff.hunks = kept
        if left:
            raise Stale(', '.join(sorted({path for path, _ in left})))
        result.diffs = [diff for diff in result.diffs if diff.hunks]
        result.diffs += self.diffs
        return result


def number_of(path):
    return path.name[:4]


def find(version, number):
    """The file that is used for that number in that version."""
    for place in places(version):
        found = sorted(place.glob(number + '[-.]*'))
        if len(found) > 1:
            raise Stale(f'two patches have number {number}: ' +
                        ' '.join(str(relative(path)) for path in found))
        if found:
            return found[0]
    return None


def numbers(version):
    every = {number_of(path) for place in places(version)
             for path in place.glob('[0-9][0-9][0-9][0-9][-.]*')}
    return [number for number in sorted(every)
            if find(version, number).suffix != '.skip']


def full_patch(number):
    found = list(PATCHES.glob(number + '-*.patch'))
    return Patch(found[0].read_text()) if found else None


def whole(version, number):
    """That patch as a mail for "git am", with the diffs of new files"""
    path = find(version, number)
    if path.suffix != '.fixup':
        return Patch(path.read_text())
    patch = full_patch(number)
    if not patch:
        raise Stale(f'{relative(path)} is for no patch')
    try:
        return Fixup(path.read_text()).applied_to(patch)
    except Stale as stale:
        raise Stale(f'{relative(path)} stands for hunks that patch {number} does '
                    f'not have any more, in {stale}') from None


def without_new_files(patch):
    result = Patch(str(patch))
    new = set(new_files())
    result.diffs = [diff for diff in result.diffs if diff.path not in new]
    return result


def compose(version, out):
    (out / 'full').mkdir(parents=True)
    for number in numbers(version):
        full = without_new_files(full_patch(number) or whole(version, number))
        (out / 'full' / f'{number}.patch').write_text(str(full))
        try:
            mail = str(without_new_files(whole(version, number)))
        except Stale as stale:
            say(f'- {stale}')
            mail = str(full)
        (out / f'{number}.patch').write_text(mail)


# ----------------------------------------------------------------------
# New files

def new_files():
    """The new files of this repository, by their path in a QEMU tree"""
    return sorted(str(path.relative_to(TOP)) for root in ROOTS
                  for path in (TOP / root).rglob('*')
                  if path.is_file() and path.name != 'run' and
                  path.name[0] != '.' and path.name[-1] != '~' and
                  '__pycache__' not in path.parts)


def placed():
    """For each patch, the new files that come with it: a dict of lists of paths"""
    result, seen, every = {}, [], new_files()
    for line in FILES.read_text().splitlines():
        if not line or line[0] == '#':
            continue
        number, path = line.split()
        paths = [name for name in every if name == path or
                 (path[-1] == '/' and name.startswith(path))]
        if not full_patch(number):
            raise Stale(f"patches/series/files: '{number}' is the number of no patch")
        if not paths:
            raise Stale(f"patches/series/files: there is no '{path}'")
        result.setdefault(number, []).extend(paths)
        seen += paths
    wrong = [path for path in every if seen.count(path) != 1]
    if wrong:
        raise Stale('patches/series/files: each new file comes once, but not ' +
                    ', '.join(wrong))
    return result


def reverse(diff, content):
    """`content` without `diff`; None if `content` does not have `diff`"""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, diff.path)
        path.parent.mkdir(parents=True)
        path.write_text(content)
        done = run(['git', 'apply', '-R', '-'], input=str(diff).encode(), cwd=folder,
                   env=dict(os.environ, GIT_CEILING_DIRECTORIES='/'))
        return path.read_text() if done.returncode == 0 else None


def states(version):
    """For each patch, from the last to the first: its number, a dict of the new
    files after the patch (path to text), a list of new files that come with it."""
    now = {path: (TOP / path).read_bytes() for path in new_files()}
    comes, steps = placed(), {}
    # What comes with a patch that the version does not have
    for number in set(comes) - set(numbers(version)):
        for path in comes[number]:
            del now[path]
    for path, number, before, _ in edits_of_new_files():
        steps.setdefault(number, {})[path] = before.encode()
    for number in reversed(numbers(version)):
        yield number, dict(now), comes.get(number, [])
        for path in comes.get(number, []):
            del now[path]
        now.update(steps.get(number, {}))


def write_states(version, out):
    for number, files, comes in states(version):
        for path, content in files.items():
            target = out / number / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (out / f'{number}.new').write_text(''.join(f'{path}\n' for path in comes))


def diff_of(path, before, after):
    """A diff of two texts of a file, as git has it; '' if they are the same"""
    with tempfile.TemporaryDirectory() as folder:
        for side, content in (('a', before), ('b', after)):
            name = pathlib.Path(folder, side, path)
            name.parent.mkdir(parents=True)
            name.write_text(content)
        text = run(['git', 'diff', '--no-index', '--full-index', '--no-prefix',
                    '--no-renames', f'a/{path}', f'b/{path}'], cwd=folder).stdout
    return text.decode()


def merge(ours, base, theirs):
    """`ours` with what changed from `base` to `theirs`, and whether it is free of
    conflicts"""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (('before', ours), ('base', base), ('now', theirs)):
            pathlib.Path(folder, name).write_text(text)
        done = run(['git', 'merge-file', '-p', 'before', 'base', 'now'], cwd=folder)
    return done.stdout.decode(), done.returncode == 0


def edits_of_new_files():
    """The edits by patches in new files that came with an earlier patch: the path, the
    patch's number, and the file before and after the patch. If a file was edited since
    the patch was written, its older states get the same edits."""
    chains, new = {}, set(new_files())
    for number in reversed(numbers(versions()[0])):
        for diff in full_patch(number).diffs:
            if diff.path in new:
                chains.setdefault(diff.path, []).append((number, diff))
    for path, chain in chains.items():
        now = (TOP / path).read_text()
        for number, before, after in (unedited(now, chain) or
                                      edited(path, now, chain)):
            yield path, number, before, after


def unedited(now, chain):
    """For each diff of `chain`, from the last to the first: its patch's number, and the
    file before and after. None if the file does not have all of these diffs"""
    result = []
    for number, diff in chain:
        before = reverse(diff, now)
        if before is None:
            return None
        result.append((number, before, now))
        now = before
    return result


def edited(path, now, chain):
    """The same for a file that was edited since: an older state of it, from git, has all
    of the diffs, and the edits since then are merged into the older states too"""
    was = recorded(chain[0][1])
    steps = unedited(was, chain) if was is not None else None
    if not steps:
        raise Stale(f'{path} was edited where patch {chain[0][0]} edits it, and git does '
                    'not have the file as it was: edit the diff in that patch by hand')
    for number, was_before, was in steps:
        before = solved(number, path, *merge(was_before, was, now))
        yield number, before, now
        now = before


def recorded(diff):
    """The file after `diff`, from this repository's git; None if git lacks it"""
    name = re.search(r'^index [0-9a-f]+\.\.([0-9a-f]+)', diff.head, re.M)
    done = run(['git', '-C', str(TOP), 'cat-file', 'blob', name[1]]) if name else None
    return done.stdout.decode() if done and done.returncode == 0 else None


def solved(number, path, text, clean):
    """`text`, or the text in which somebody has solved its conflicts"""
    place = TOP / 'build' / 'conflict' / number / path
    # The conflict that the file is the solution of: another one's solution is no use
    asked = place.with_name(place.name + '.conflict')
    if clean:
        return text
    if not (place.exists() and asked.exists() and asked.read_text() == text):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        asked.write_text(text)
    elif '<<<<<<<' not in place.read_text():
        return place.read_text()
    raise Stale(f'{path} was edited where patch {number} edits it. Solve the conflicts in '
                f'{relative(place)}, which is the file as it is before that patch, and '
                f'run scripts/refresh-patches {versions()[0]}.')


# ----------------------------------------------------------------------
# A tree's commits

def git(tree, *args, **kwargs):
    # Ignore all configuration, and allow root to work in a user's clone
    env = dict(os.environ, GIT_CONFIG_GLOBAL='/dev/null', GIT_CONFIG_NOSYSTEM='1',
               **kwargs.pop('env', {}))
    return run(['git', '-C', tree, '-c', 'safe.directory=*', *args], env=env, **kwargs)


def git_says(tree, *args, **kwargs):
    done = git(tree, *args, **kwargs)
    if done.returncode:
        die(f"git {' '.join(args)}: {done.stderr.decode()}")
    return done.stdout.decode()


def mail_of(tree, commit):
    return git_says(tree, 'format-patch', '-q', '--stdout', '--zero-commit',
                    '--no-signature', '--no-numbered', '--no-stat', '--no-renames',
                    '--full-index', '-1', commit)


class Index:
    """A tree that is made from the parent of a commit"""

    def __init__(self, tree, commit):
        self.tree, self.parent = tree, commit + '^'
        self.folder = tempfile.TemporaryDirectory()
        self.env = {'GIT_INDEX_FILE': os.path.join(self.folder.name, 'index')}
        self.reset()

    def reset(self):
        git_says(self.tree, 'read-tree', self.parent, env=self.env)

    def apply(self, diff):
        return git(self.tree, 'apply', '--cached', '-', env=self.env,
                   input=str(diff).encode()).returncode == 0

    def result(self):
        return git_says(self.tree, 'write-tree', env=self.env).strip()


def make_fixup(tree, commit, full):
    """The instead-of lines and the diffs that turn `full` into `commit`"""
    index, instead = Index(tree, commit), []
    for diff in full.diffs:
        part = FileDiff(str(diff))
        part.hunks = []
        for hunk in diff.hunks:
            index.reset()
            if index.apply(diff.head + hunk):
                part.hunks.append(hunk)
            else:
                instead.append((diff.path, hunk_id(hunk)))
        diff.hunks = part.hunks
    index.reset()
    for diff in full.diffs:
        if diff.hunks and not index.apply(diff):
            instead += [(diff.path, hunk_id(hunk)) for hunk in diff.hunks]
    own = git_says(tree, 'diff', '--full-index', '--no-renames', index.result(),
                   commit + '^{tree}')
    return instead, own


def fixup_text(version, path, instead, own):
    reason = f'QEMU {version} differs here.'
    if path.exists():
        reason = Fixup(path.read_text()).reason()
    lines = ''.join(f'instead-of: {name} {ident}\n' for name, ident in instead)
    return f'{reason}\n\n{lines}\n{own}'


def update(path, text):
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def write_older(version, tree, commit, number, slug):
    """Write the differences of an older version in that patch, if there are any"""
    place, full = PATCHES / version, full_patch(number)
    mail = mail_of(tree, commit)
    own_mail, fixup = place / f'{number}-{slug}.patch', place / f'{number}.fixup'
    if not full or full.message() != Patch(mail).message():
        new = set(new_files())
        update(own_mail, mail + ''.join(str(diff) for diff in full.diffs
                                        if diff.path in new) if full else mail)
        fixup.unlink(missing_ok=True)
        return
    own_mail.unlink(missing_ok=True)
    instead, own = make_fixup(tree, commit, without_new_files(full))
    text = fixup_text(version, fixup, instead, own)
    fixup.unlink(missing_ok=True)
    if instead or own or find(version, number).parent != PATCHES:
        update(fixup, text)
    made = Index(tree, commit)
    if not made.apply(without_new_files(whole(version, number))) or \
            made.result() != git_says(tree, 'rev-parse', commit + '^{tree}').strip():
        die(f'{relative(fixup)} does not make commit {commit}')


def commits(version, tree, last_commit='HEAD'):
    """The commits of `tree` after "pristine": each with its number and its slug"""
    known = {path.name[5:-6]: number_of(path) for place in reversed(places(version))
             for path in place.glob('[0-9]*-*.patch')}
    last = 0
    for commit in git_says(tree, 'rev-list', '--reverse',
                           'pristine..' + last_commit).split():
        slug = git_says(tree, 'show', '-s', '--format=%f', commit)[:SUBJECT_MAX].strip()
        number = known.get(slug) or number_after(last, known.values())
        last = int(number)
        yield commit, number, slug


def write(version, tree):
    newest = version == versions()[0]
    edits = {}
    for path, number, before, after in edits_of_new_files():
        edits.setdefault(number, []).append(diff_of(path, before, after))
        # Then git has the file even before it is committed: see recorded()
        git(str(TOP), 'hash-object', '-w', '--stdin', input=after.encode())
    done = set()
    for commit, number, slug in list(commits(version, tree)):
        done.add(number)
        if newest:
            update(PATCHES / f'{number}-{slug}.patch',
                   mail_of(tree, commit) + ''.join(edits.get(number, [])))
        else:
            write_older(version, tree, commit, number, slug)
    for number in numbers(version):
        if number not in done:
            say(f'patch {number} is no commit of this tree. Remove it, ' + (
                'with the fix-ups of older versions, if it is to go.' if newest else
                f'or say why in patches/{version}/{number}.skip.'))


def hunks_of(patch, path):
    """The hunks of that file in `patch`"""
    return next((diff.hunks for diff in patch.diffs if diff.path == path), [])


def change_hunks(hunks, was, now):
    """Change the list `hunks` as `was` changed to `now`. Returns whether all hunks of
    `was` that changed are in `hunks` too."""
    ids, was_ids = [hunk_id(hunk) for hunk in hunks], [hunk_id(hunk) for hunk in was]
    steps = difflib.SequenceMatcher(
        None, was_ids, [hunk_id(hunk) for hunk in now], False).get_opcodes()
    for step, first, end, new, new_end in reversed(steps):
        if step == 'equal':
            continue
        gone = was_ids[first:end]
        before = [ids.index(name) + 1 for name in was_ids[:first] if name in ids]
        place = ids.index(gone[0]) if gone and gone[0] in ids else max(before, default=0)
        if ids[place:place + len(gone)] != gone:
            return False
        hunks[place:place + len(gone)] = now[new:new_end]
    return True


def change_patch(number, was, now):
    """Patch NUMBER of the newest version, changed as `was` changed to `now` in an older
    one, or Stale"""
    patch = full_patch(number)
    if was.message() != now.message():
        patch.text = now.text
    was_paths = [diff.path for diff in was.diffs]
    for diff in now.diffs:
        mine = next((item for item in patch.diffs if item.path == diff.path), None)
        if diff.path not in was_paths and not mine:
            patch.diffs.append(diff)
        elif not change_hunks(mine.hunks if mine else [], hunks_of(was, diff.path),
                              diff.hunks):
            raise Stale(diff.path)
        elif mine and str(diff) != str(mine) and \
                [hunk_id(hunk) for hunk in mine.hunks] == list(map(hunk_id, diff.hunks)):
            # A merge needs the file that the patch was made for: take the one at hand
            mine.head = diff.head
    kept = {diff.path for diff in now.diffs}
    patch.diffs = [diff for diff in patch.diffs if diff.hunks and
                   (diff.path in kept or diff.path not in was_paths)]
    return patch


def write_for_all(version, tree, old):
    """Have the patches of the newest version follow what changed in the tree of an older
    one since `old`. A hunk that has a fix-up can't be changed so."""
    texts = {}
    before = {number: mail_of(tree, commit)
              for commit, number, _ in list(commits(version, tree, old))}
    for commit, number, slug in list(commits(version, tree)):
        now, path = Patch(mail_of(tree, commit)), find(version, number)
        if not path:
            texts[PATCHES / f'{number}-{slug}.patch'] = str(now)
            continue
        was = Patch(before.get(number, ''))
        if str(was) == str(now):
            continue
        if not full_patch(number):
            die(f'{relative(path)} is a patch of {version} alone: run this without --for-all')
        try:
            changed = str(change_patch(number, was, now))
        except Stale as stale:
            die(f"patch {number} changed in {stale} where {path.name} of {version} stands for "
                f'other lines of the newest version: change it in the tree of '
                f'{versions()[0]}')
        texts[next(PATCHES.glob(number + '-*.patch'))] = changed
    saved = {path: path.read_text() if path.exists() else None for path in texts}
    for path, text in texts.items():
        update(path, text)
    for commit, number, _ in list(commits(version, tree)):
        made = Index(tree, commit)
        if not made.apply(without_new_files(whole(version, number))) or \
                made.result() != git_says(tree, 'rev-parse', commit + '^{tree}').strip():
            for path, text in saved.items():
                if text is None:
                    path.unlink()
                else:
                    path.write_text(text)
            die(f'patch {number} with its fix-up would not make commit {commit}: change it '
                f'in the tree of {versions()[0]}')


def number_after(last, known):
    """A new number between its neighbours' numbers, which do not change"""
    following = min((int(number) for number in known if int(number) > last),
                    default=last + 20)
    if following == last + 1:
        die(f'there is no number between {last:04} and {following:04}: rename patches')
    return f'{(last + following) // 2:04}'


# ----------------------------------------------------------------------
# Mails of tests

def part(path, function, cut=cparts.first_part):
    """The file, cut behind that function"""
    text = cut(pathlib.Path(path).read_text(), function)
    if text is None:
        raise Stale(f"{path} has no function '{function}' to be cut behind")
    return text


def check_tests():
    """Has each message of a mail of tests a patch, and its files and functions?"""
    for message in sorted((PATCHES / 'series' / 'tests').glob('[0-9]*')):
        if not full_patch(number_of(message)):
            raise Stale(f'{relative(message)} is for no patch')
        for line in message.read_text().splitlines():
            if line.startswith('up-to: '):
                _, path, function = line.split()
                part(TOP / path, function)


# ----------------------------------------------------------------------
# MAINTAINERS

# The entry of QEMU's behind which each of ours comes
BEHIND = {'virtio-serial': 'virtio-serial', 'Character': 'Character device backends',
          'USB': 'USB'}


def entries_for(files):
    """Our entries, as lists of lines, with the lines that match one of `files`"""
    def is_meant(line):
        pattern = line[3:] + ('*' if line[-1] == '/' else '')
        return any(fnmatch.fnmatchcase(name, pattern) for name in files)

    for text in (TOP / 'MAINTAINERS').read_text().rstrip('\n').split('\n\n')[1:]:
        yield [line for line in text.splitlines() if line[:3] != 'F: ' or is_meant(line)]


def write_maintainers(tree):
    """Each of our entries comes once it has a file"""
    path = pathlib.Path(tree, 'MAINTAINERS')
    theirs = path.read_text().split('\n\n')
    for entry in entries_for(git_says(tree, 'ls-files').splitlines()):
        theirs = [item for item in theirs if not item.startswith(entry[0] + '\n')]
        titles = [item.split('\n', 1)[0] for item in theirs]
        if any(line[:3] == 'F: ' for line in entry):
            before = titles.index(BEHIND[entry[0].split()[0]])
            theirs.insert(before + 1, '\n'.join(entry))
    path.write_text('\n\n'.join(theirs))


# ----------------------------------------------------------------------
# Fixes:

FIXED = re.compile(r'^Fixes: (.*)$', re.M)


def check_fixes():
    """Does each line "Fixes:" name a commit of QEMU, by 12 digits and its subject? With no
    clone of QEMU's repository in QEMU_GIT, only the form is looked at."""
    clone = os.environ.get('QEMU_GIT')
    bad = 0
    for path in sorted(PATCHES.glob('*.patch')) + sorted(PATCHES.glob('[0-9]*/*.patch')):
        for said in FIXED.findall(Patch(path.read_text()).text):
            found = re.fullmatch(r'([0-9a-f]{12}) \("(.*)"\)', said)
            if not found:
                say(f'{relative(path)}: Fixes: {said}: expected 12 digits ("subject")')
                bad = 1
            elif clone and os.path.isdir(clone):
                done = git(clone, 'show', '-s', '--format=%h %s', '--abbrev=12', found[1])
                if done.stdout.decode().strip() != f'{found[1]} {found[2]}':
                    say(f'{relative(path)}: Fixes: {said}: in QEMU_GIT: ' +
                        (done.stdout + done.stderr).decode().strip())
                    bad = 1
    return bad


def series_of(number):
    """The name of the series that has the patch of that number"""
    for line in (PATCHES / 'series' / 'list').read_text().splitlines():
        if line and line[0] != '#' and int(number) <= int(line.split()[1]):
            return line.split()[0]
    return None


def check_reproducers():
    """In the series of fixes, each patch has a line "Fixes:" and says how to see the fault"""
    bad = 0
    for number in numbers(versions()[0]):
        text = full_patch(number).text
        if series_of(number) in ('fixes', 'usb-fixes') and not (
                FIXED.search(text) and '\nReproducer: ' in text):
            say(f'patch {number} is a fix without Fixes: or Reproducer:')
            bad = 1
    return bad


def check_senders():
    """Is each patch signed off by the people of MAINTAINERS alone? Whoever sends the mails
    puts in his own name."""
    maintainers = re.findall(r'^M: (.*)', (TOP / 'MAINTAINERS').read_text(), re.M)
    bad = 0
    for number in numbers(versions()[0]):
        for name in re.findall(r'^Signed-off-by: (.*)', full_patch(number).text, re.M):
            if name not in maintainers:
                say(f'patch {number} is signed off by {name}: not in MAINTAINERS')
                bad = 1
    return bad


# ----------------------------------------------------------------------

def check():
    bad = check_senders() if (TOP / 'MAINTAINERS').exists() else 0
    bad |= check_fixes() | (check_reproducers() if (PATCHES / 'series' / 'list').exists() else 0)
    try:
        check_tests()
    except Stale as stale:
        say(stale)
        bad = 1
    for version in versions():
        try:
            for number in numbers(version):
                whole(version, number)
            for _ in states(version):
                pass
        except Stale as stale:
            say(f'{version}: {stale}')
            bad = 1
    for path in PATCHES.glob('*/*'):
        # patches/libvirt is for another program, patches/neighbours for other trees
        if path.parent.name not in versions() + ['series', 'libvirt', 'neighbours']:
            say(f'{relative(path)}: {path.parent.name} is no version of patches/versions')
            bad = 1
        if path.suffix in ('.fixup', '.skip') and not full_patch(number_of(path)):
            say(f'{relative(path)} is for no patch')
            bad = 1
    return bad


def main():
    try:
        match sys.argv[1:]:
            case ['numbers', version]:
                print('\n'.join(numbers(version)))
            case ['compose', version, out]:
                compose(version, pathlib.Path(out))
            case ['states', version, out]:
                write_states(version, pathlib.Path(out))
            case ['write', version, tree]:
                write(version, tree)
            case ['write-for-all', version, tree, old]:
                write_for_all(version, tree, old)
            case ['maintainers', tree]:
                write_maintainers(tree)
            case ['part', path, function]:
                sys.stdout.write(part(path, function))
            case ['up-to', path, function]:
                sys.stdout.write(part(path, function, cparts.text_up_to))
            case ['check']:
                sys.exit(check())
            case _:
                die(__doc__)
    except Stale as stale:
        die(stale)


if __name__ == '__main__':
    main()
