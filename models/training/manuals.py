"""Manual pages as packages carry them: what a page describes, and the phrase of its NAME section.

Read from their source, not set by a typesetter: without margins, running heads and hyphenation there is nothing to
undo. Pages in mdoc, whose text is made of the macros' arguments, are left out.
"""

import gzip
import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models.training.debian import Description

_LISTED = """
alsa-utils amavisd-new apache2 apt bcftools bedtools bind9 bind9-dnsutils btrfs-progs bzr coreutils corosync
cryptsetup-bin cups-client curl cvs debhelper devscripts dh-make dia diffutils dovecot-core dpkg dpkg-dev drbd-utils
e2fsprogs emboss erlang-manpages exim4-base ffmpeg findutils flatpak freeradius ganglia-monitor gawk gdb ghostscript
git-man gnupg gnuplot gpg gpgsm graphicsmagick graphviz grep groff guile-3.0 gzip hdf5-tools heimdal-docs hmmer
imagemagick-6-common iproute2 iptables krb5-doc krb5-user ldap-utils libanyevent-perl libarchive-dev libbio-perl-perl
libcatalyst-perl libcurl4-doc libdatetime-perl libdbi-perl libdbix-class-perl libgd-perl libgtk3-perl libimager-perl
libjack-jackd2-dev liblog-log4perl-perl libmail-box-perl libmojolicious-perl libmoose-perl libpcap0.8-dev
libperl-critic-perl libpoe-perl libppi-perl libreswan libspreadsheet-writeexcel-perl libssl-doc libtemplate-perl
libtest-simple-perl libtiff-dev libvirt-clients libwww-perl libx11-doc libxext-doc libxml-libxml-perl libxt-doc
lintian ltrace lvm2 lxc lynx man-db manpages manpages-dev mariadb-client mdadm mercurial-common mpv munin-doc mutt
nano ncurses-doc netcat-openbsd netcdf-doc netpbm nftables nmap nsd nut ocaml-man openssh-client ostree pacemaker
pdftk-java php8.2-cli poppler-utils postfix postgresql-client-15 procps psmisc python3.11 qemu-system-common
qemu-utils qpdf redis-tools rsync ruby samba-common-bin samtools screen sed skopeo slapd slurm-client smbclient socat
sox spamassassin sqlite3 sssd-tools strace strongswan-swanctl subversion systemd tar tcl8.6-doc tcpdump texinfo
tk8.6-doc tmux tshark unbound util-linux vim-common virt-manager w3m wget wireshark-common x11-utils x11-xserver-utils
xfig xfsprogs xserver-xorg-core xterm
"""
PACKAGES = frozenset(_LISTED.split())
"""Packages with many pages, none of over 5 MB."""


class Page(NamedTuple):
    """`text`: the paragraphs of DESCRIPTION, in one line."""

    source: str
    phrase: str
    text: str


def packages(index: dict[str, Description]) -> list[str]:
    """`PACKAGES`, and one in sixteen of the Perl modules, by their names' digests."""
    perl = [n for n in index if re.fullmatch(r"lib.*-perl", n) and hashlib.md5(n.encode()).hexdigest()[0] == "3"]
    return sorted((PACKAGES | set(perl)) & index.keys())


def fetch(work: Path, names: list[str]) -> None:
    """Download through apt-get what is not there yet, and unpack the English pages of it."""
    downloads = work / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not any(downloads.glob(f"{name}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", "-qq", *missing], cwd=downloads, check=True)
    for name in names:
        target = work / "pages" / name
        if target.exists():
            continue
        target.mkdir(parents=True)
        archive = next(downloads.glob(f"{name}_*.deb"))
        contents = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        pages = ["tar", "-x", "-C", target, "--wildcards", "./usr/share/man/man*/*"]
        # tar fails where a package has none; what it unpacked counts.
        subprocess.run(pages, stdin=contents.stdout, stderr=subprocess.DEVNULL, check=False)
        contents.communicate()


def pages(work: Path, names: list[str], index: dict[str, Description], limit: int = 150) -> Iterator[Page]:
    """At most `limit` pages of each package, in the order of their names' digests; each phrase once."""
    seen: set[str] = set()
    for name in names:
        found = 0
        files = (path for path in (work / "pages" / name).rglob("*.gz") if path.is_file() and not path.is_symlink())
        for path in sorted(files, key=lambda p: hashlib.md5(p.name.encode()).digest()):
            page = read(gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace"))
            if page and page[0] not in seen and found < limit:
                seen.add(page[0])
                found += 1
                yield Page(index[name].source, *page)


def read(source: str) -> tuple[str, str] | None:
    """(phrase, text) of a page in the man macros; None where it lacks one of them, or is in others."""
    sections = _sections(source)
    name = re.split(r"\s+(?:-{1,2}|—|–)\s+", " ".join(sections.get("NAME", [])), maxsplit=1)
    text = " ".join(sections.get("DESCRIPTION", []))
    if len(name) < 2 or not name[1].strip() or not text:
        return None
    return name[1].strip(), text


def _sections(source: str) -> dict[str, list[str]]:
    """The paragraphs of each section; what is set without filling (examples, tables) is left out."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    fresh, verbatim = True, False
    for line in source.splitlines():
        macro, _, rest = line.partition(" ")
        if macro in (".SH", ".Sh"):
            current = sections.setdefault(_plain(rest.strip('" ')).upper(), [])
            fresh, verbatim = True, False
        elif macro in _BEGIN_VERBATIM:
            verbatim = True
        elif macro in _END_VERBATIM:
            verbatim, fresh = False, True
        elif verbatim:
            continue
        elif macro in _PARAGRAPHS or not line.strip():
            fresh = True
        elif macro in _FONTS:
            words = _plain(rest if len(macro) == 2 else "".join(_arguments(rest)))
            fresh = _add(current, words, fresh)
        elif not line.startswith((".", "'")):
            fresh = _add(current, _plain(line), fresh)
    return sections


_BEGIN_VERBATIM = (".nf", ".EX", ".TS", ".Vb", ".Bd", ".PS", ".EQ", ".ig", ".de")
_END_VERBATIM = (".fi", ".EE", ".TE", ".Ve", ".Ed", ".PE", ".EN", "..")
_PARAGRAPHS = (".PP", ".P", ".LP", ".IP", ".TP", ".HP", ".SS", ".sp", ".br", ".RS", ".RE", ".Pp", ".Sp", ".TQ")
_FONTS = (".B", ".I", ".R", ".SM", ".SB", ".BR", ".RB", ".BI", ".IB", ".IR", ".RI")


def _add(paragraphs: list[str], words: str, fresh: bool) -> bool:
    if words:
        if fresh or not paragraphs:
            paragraphs.append(words)
        else:
            paragraphs[-1] += f" {words}"
    return fresh and not words


def _arguments(line: str) -> list[str]:
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', line)]


_GLYPHS = {
    "-": "-", "e": "\\", "&": "", "/": "", ",": "", "|": "", "^": "", "%": "", ":": "", "~": " ", " ": " ", "0": " ",
    "c": "", "'": "'", "`": "`", ".": ".", "(em": "—", "(en": "–", "(bu": "", "(aq": "'", "(dq": '"', "(lq": '"',
    "(rq": '"', "(oq": "'", "(cq": "'", "(hy": "-", "(co": "", "(rg": "", "(tm": "", "(ti": "~", "(ha": "^", "(ga": "`",
    "(rs": "\\", "*(L": "", "*(C": "", "*(R": "", "*(--": "—", "*(Aq": "'", "[u201C]": '"', "[u201D]": '"',
}  # fmt: skip
_ESCAPE = re.compile(
    r'\\(?:"(?P<comment>.*)|f(?:\[[^\]]*\]|\(..|.)|s[-+]?\d+|[hvwkmM]\'[^\']*\'|m\[[^\]]*\]|\*\([LRC]["@\'+]?'
    r"|(?P<glyph>\*\(..|\[[^\]]*\]|\(..|.))"
)


def _plain(line: str) -> str:
    """Without the typesetter's escapes."""
    line = re.sub(r'\\\*\([LR]"', '"', line)
    line = re.sub(r"\\\*\(C['`]", "", line)
    line = _ESCAPE.sub(lambda m: _GLYPHS.get(m["glyph"] or "", ""), line)
    return re.sub(r"\s+", " ", line.replace('""', '"')).strip()
