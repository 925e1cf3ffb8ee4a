//! What comments say of the code: each "pairs with" names what it pairs with,
//! and each lock rank names its locks.

use super::paths::{File, House};
use super::source::{Source, library, name, places, report, sources};
use std::collections::BTreeSet;

/// Files whose "pairs with" is not checked yet: folder, reason.
const NOT_YET: [(&str, &str); 0] = [];

/// What uses a rank and is not in its text: file, reason.
const NO_LOCKS: [(&str, &str); 2] =
    [("base/rank.rs", "has the texts"), ("internals.rs", "a lock to measure")];

/// Words of a comment that name nothing.
const SMALL: [&str; 23] = [
    "a", "acquire", "acquires", "an", "and", "barrier", "fence", "fences",
    "in", "load", "loads", "look", "looks", "of", "release", "releases",
    "store", "stores", "swap", "that", "the", "those", "with",
];

/// Where the names have an end. After a `:` but for that of a path.
const AFTER: [&str; 7] = [".", ";", ": ", ", so", ", wh", " (inv", ", inv"];

/// The comments of a file, each line of comments with those that follow: in
/// which line it begins, and its text.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut comments: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some(words) = line.strip_prefix("//") else {
            goes_on = false;
            continue;
        };
        let words = words.trim_start_matches(['/', '!']).trim();
        match comments.last_mut() {
            Some((_, text)) if goes_on => {
                text.push('\n');
                text.push_str(words);
            }
            _ => comments.push((n + 1, words.to_owned())),
        }
        goes_on = true;
    }
    comments
}

/// What a file says of pairs: line, and the names.
fn pairs(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut pairs = Vec::new();
    for (line, comment) in comments(text) {
        let one = comment.replace('\n', " ");
        for (at, _) in one.match_indices("airs with") {
            let line = line + comment[..at].matches('\n').count();
            let clause = &one[at + "airs with".len()..];
            let end = AFTER.iter().filter_map(|mark| clause.find(mark)).min();
            pairs.push((line, names(&clause[..end.unwrap_or(clause.len())])));
        }
    }
    pairs
}

/// The names in "the release of `f`, g's store and m::h": all words but the
/// small ones. In backticks any word is a name.
fn names(clause: &str) -> Vec<String> {
    let words = clause.split_whitespace();
    let words = words.filter(|word| !SMALL.contains(word));
    let bare = |word: &str| {
        let word = word.trim_end_matches(',').trim_end_matches("'s");
        word.trim_matches('`').to_owned()
    };
    words.map(bare).collect()
}

/// The functions and types that a file defines, and the labels in assembly.
fn defined(code: &str) -> BTreeSet<&str> {
    let mut defined = BTreeSet::new();
    for keyword in ["fn ", "struct ", "enum ", "trait ", "type ", "func "] {
        for at in places(code, keyword) {
            defined.insert(name(&code[at + keyword.len()..]));
        }
    }
    defined
}

/// The comments that pair with what is not there: no step `(a)` of a protocol,
/// nothing in the file, nor in one that it imports or that imports it, and
/// nothing that has this name alone in the library, or in the file before `::`.
fn lonely(house: &House, asm: &[Source]) -> Vec<String> {
    let imports: Vec<BTreeSet<usize>> = (0..house.files.len())
        .map(|n| house.imports(n).iter().map(|import| import.to).collect())
        .collect();
    let own = house.files.iter().map(|file| defined(&file.source.code));
    let own: Vec<_> = own.collect();
    let asm: Vec<_> = asm.iter().map(|file| defined(&file.code)).collect();
    let mut findings = Vec::new();
    for (n, file) in house.files.iter().enumerate() {
        let near = |m: &usize| {
            *m == n || imports[n].contains(m) || imports[*m].contains(&n)
        };
        let known = |name: &str| {
            if let Some((module, name)) = name.rsplit_once("::") {
                let file = |f: &File| {
                    f.path().trim_end_matches(".rs").ends_with(module)
                };
                let mut files = house.files.iter().zip(&own);
                return files.any(|(f, own)| file(f) && own.contains(name));
            }
            let mut near = (0..own.len()).filter(near).map(|m| &own[m]);
            let all = own.iter().chain(&asm);
            name.starts_with('(')
                || near.any(|file| file.contains(name))
                || all.filter(|file| file.contains(name)).count() == 1
        };
        for (line, names) in pairs(&file.source.text) {
            let unknown: Vec<_> = names.iter().filter(|n| !known(n)).collect();
            if names.is_empty() || !unknown.is_empty() {
                findings.push(format!(
                    "{}:{line}: pairs with {unknown:?}: name the function that \
                     has the other side, and nothing else; in backticks where \
                     it is a usual word",
                    file.path()
                ));
            }
        }
    }
    findings
}

#[test]
fn what_pairs_names_its_other_half() {
    let mut found = lonely(&House::both()[0], &sources("asm", &[".S"]));
    found.retain(|f| !NOT_YET.iter().any(|(folder, _)| f.starts_with(folder)));
    report("a comment says with which function:", &found);
}

/// The ranks in the text of `base/rank.rs`, and the files that its text names.
fn ranks(text: &str) -> Vec<(&str, BTreeSet<&str>)> {
    let list = text.split_once("pub enum Rank {").map_or("", |(_, list)| list);
    let list = list.split_once("\n}").map_or("", |(list, _)| list);
    let mut ranks = Vec::new();
    let mut files = BTreeSet::new();
    for line in list.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            let named = text.split('`').skip(1).step_by(2);
            files.extend(named.filter(|name| name.ends_with(".rs")));
        } else if let Some(rank) = line.strip_suffix(',') {
            ranks.push((rank, std::mem::take(&mut files)));
        }
    }
    ranks
}

/// Where the text of a rank and the locks that have it do not agree.
fn misnamed_ranks(files: &[Source]) -> Vec<String> {
    let texts = files.iter().find(|file| file.path == "base/rank.rs");
    let ranks = ranks(texts.map_or("", |file| &file.text));
    assert!(!ranks.is_empty(), "base/rank.rs has no list of ranks");
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| !file.for_tests) {
        if NO_LOCKS.iter().any(|(path, _)| *path == file.path) {
            continue;
        }
        for at in places(&file.code, "Rank::") {
            let rank = name(&file.code[at + "Rank::".len()..]);
            used.insert((rank, file.path.as_str()));
        }
    }
    let named = ranks.iter().flat_map(|(rank, files)| {
        files.iter().map(|file| (*rank, *file)).collect::<Vec<_>>()
    });
    let named: BTreeSet<_> = named.collect();
    let mut findings = Vec::new();
    for (rank, file) in used.difference(&named) {
        findings.push(format!(
            "{file}: a lock of rank {rank}, whose text in base/rank.rs does \
             not name the file: add it there, or use another rank"
        ));
    }
    for (rank, file) in named.difference(&used) {
        findings.push(format!(
            "base/rank.rs: the text of {rank} names {file}, which has no such \
             lock: correct the text"
        ));
    }
    findings
}

#[test]
fn ranks_are_named_by_their_locks() {
    report(
        "a rank's text says which locks it has:",
        &misnamed_ranks(&library()),
    );
}

#[test]
fn a_rank_that_is_not_named_is_found() {
    let rank = "pub enum Rank {\n    /// One (`a.rs`, `b.rs`).\n    A,\n}\n";
    let files = [
        Source::new("base/rank.rs", rank),
        Source::new("a.rs", "static L: Lock<()> = Lock::new(Rank::A, ());"),
        Source::new("c.rs", "static L: Lock<()> = Lock::new(Rank::A, ());"),
    ];
    let found = misnamed_ranks(&files);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("c.rs: a lock of rank A"), "{found:#?}");
    assert!(found[1].contains("of A names b.rs"), "{found:#?}");
}

#[test]
fn a_pair_without_its_other_half_is_found() {
    let other = Source::new("o.rs", "pub fn far() {}\npub fn twice() {}");
    let again = Source::new("p.rs", "pub fn twice() {}");
    for (text, good) in [
        ("// Acquire: pairs with near.", true),
        ("// Pairs with the release of near, and\n// far. More.", true),
        ("// Pairs with `release`.\nfn release() {}", true),
        ("// Pairs with twice's store.", false),
        ("// Pairs with p::twice's store.", true),
        ("// Pairs with o::near.", false),
        ("// Pairs with nowhere.", false),
        ("// Pairs with the acquire\n// of nowhere.", false),
        ("// Pairs with everybody's release of near.", false),
        ("// Pairs with the release.", false),
        ("// (a) pairs with (d) and (c) with (b): one sees it.", true),
    ] {
        let file = Source::new("n.rs", &format!("fn near() {{}}\n{text}"));
        let all =
            [&file, &other, &again].map(|s| Source::new(&s.path, &s.text));
        let found = lonely(&House::library(all.into()), &[]);
        assert_eq!(found.is_empty(), good, "{text}: {found:#?}");
    }
}
