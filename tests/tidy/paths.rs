//! Imports: for each path in the code view of a file, the file that defines
//! what the path names.
//!
//! A path is followed as the compiler follows it: through `crate`, `super` and
//! `self`, through the names that `use` brings into a file, and through the
//! re-exports of a `mod.rs`, which are no imports of the `mod.rs`. A `use` of a
//! module alone is no import; the paths that begin with its name are. What is
//! found by a method call or by an `extern` block is not seen.

use super::layers::layer;
use super::source::{Source, item_end, library, name, places};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// So many names that stand for names are followed; an alias of itself ends.
const DEPTH: usize = 8;

/// A path in a file.
struct Path {
    /// Where it stands in the code view.
    at: usize,
    names: Vec<String>,
    /// The inline modules around it, outermost first.
    inside: Vec<String>,
}

/// A `use`: a path, and the name that it brings into the file; `*` for all.
struct Use {
    path: Path,
    name: String,
    public: bool,
}

/// A file and what is known of it.
pub struct File {
    pub source: Source,
    /// Its module, as names from the root.
    module: Vec<String>,
    uses: Vec<Use>,
    /// All other paths.
    paths: Vec<Path>,
    /// The names of its items.
    items: BTreeSet<String>,
    /// The code view without each `use`.
    body: String,
}

/// A path that leads from one file to another.
pub struct Import {
    pub at: usize,
    /// The index of the other file.
    pub to: usize,
    /// As it is written.
    pub path: String,
    /// The names from the root.
    pub names: Vec<String>,
}

/// The files of a crate by their modules.
pub struct House {
    pub files: Vec<File>,
    modules: BTreeMap<Vec<String>, usize>,
    imports: Vec<Vec<Import>>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The names of the module in the file at `path`.
fn module_of(path: &str) -> Vec<String> {
    let mut names: Vec<_> = path.trim_end_matches(".rs").split('/').collect();
    if ["mod", "lib"].contains(names.last().expect("split gives one")) {
        names.pop();
    }
    owned(&names)
}

/// The inline modules of `code`: from where, to where, name.
fn inline_modules(code: &str) -> Vec<(usize, usize, String)> {
    let mut modules = Vec::new();
    for at in places(code, "mod ") {
        let module = name(&code[at + "mod ".len()..]);
        let after = at + "mod ".len() + module.len();
        if code[after..].trim_start().starts_with('{') {
            modules.push((at, item_end(code, at), module.to_owned()));
        }
    }
    modules
}

/// The names of what stands outside all brackets.
fn items_of(code: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 10] = [
        "fn",
        "struct",
        "enum",
        "union",
        "trait",
        "type",
        "const",
        "static",
        "mod",
        "macro_rules!",
    ];
    let mut flat = String::new();
    let mut depth = 0;
    for c in code.chars() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ if depth == 0 => flat.push(c),
            _ => {}
        }
        if matches!(c, '{' | '(' | '[') {
            flat.push(' ');
        }
    }
    let words: Vec<_> = flat.split_whitespace().collect();
    let named = words.windows(2).filter(|pair| KEYWORDS.contains(&pair[0]));
    // A type such as `fn(i32)` has no name.
    let names = named.map(|pair| name(pair[1])).filter(|n| !n.is_empty());
    names.map(str::to_owned).collect()
}

/// The parts of `text` between the commas that stand outside all braces.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The leaves of a tree of `use`: the names on the way, and the last one's.
fn leaves(before: &[&str], tree: &str) -> Vec<(Vec<String>, String)> {
    let (way, group) = match tree.split_once('{') {
        Some((way, group)) => (way, group.rsplit_once('}').map(|(g, _)| g)),
        None => (tree, None),
    };
    let (way, other) = way.split_once(" as ").unwrap_or((way, ""));
    let way = way.split("::").map(str::trim).filter(|name| !name.is_empty());
    let mut names: Vec<_> = before.iter().copied().chain(way).collect();
    if let Some(group) = group {
        let under = |part| leaves(&names, part);
        return parts(group).into_iter().flat_map(under).collect();
    }
    if names.len() > 1 && names.last() == Some(&"self") {
        names.pop();
    }
    let last = names.last().copied().unwrap_or_default();
    let other = other.trim();
    let name = if other.is_empty() { last } else { other };
    vec![(owned(&names), name.to_owned())]
}

impl File {
    fn new(source: Source, module: Vec<String>) -> Self {
        let code = &source.code;
        let inline = inline_modules(code);
        let inside = |at: usize| -> Vec<String> {
            let around = inline.iter().filter(|(a, z, _)| *a < at && at < *z);
            around.map(|(_, _, name)| name.clone()).collect()
        };
        let (mut uses, mut body) = (Vec::new(), code.clone());
        for at in places(code, "use ") {
            let end = code[at..].find(';').map_or(code.len(), |n| at + n);
            let before = code[..at].trim_end();
            let public = before.ends_with(')') || before.ends_with("pub");
            for (names, name) in leaves(&[], &code[at + "use ".len()..end]) {
                let path = Path { at, names, inside: inside(at) };
                uses.push(Use { path, name, public });
            }
            body.replace_range(at..end, &" ".repeat(end - at));
        }
        let paths = paths_of(&body);
        let path = |(at, names)| Path { at, names, inside: inside(at) };
        let paths = paths.into_iter().map(path).collect();
        let items = items_of(code);
        Self { source, module, uses, paths, items, body }
    }

    pub fn path(&self) -> &str {
        &self.source.path
    }

    fn is_mod(&self) -> bool {
        self.path().ends_with("mod.rs")
    }
}

/// The paths of two names and more in `body`.
fn paths_of(body: &str) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    let mut end = 0;
    for (at, _) in body.match_indices("::") {
        let before = body[..at]
            .trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        let start = before.len();
        // Not the rest of a path that has been read, nor of `<T>::name`.
        if start == at || start < end || before.ends_with("::") {
            continue;
        }
        let mut names = vec![body[start..at].to_owned()];
        end = at;
        while let Some(rest) = body[end..].strip_prefix("::") {
            let next = name(rest);
            if next.is_empty() {
                break;
            }
            names.push(next.to_owned());
            end += "::".len() + next.len();
        }
        if names.len() > 1 {
            paths.push((start, names));
        }
    }
    paths
}

impl House {
    fn new(files: Vec<(Vec<String>, Source)>) -> Self {
        let files: Vec<_> =
            files.into_iter().map(|(m, source)| File::new(source, m)).collect();
        let modules = files.iter().enumerate();
        let modules = modules.map(|(n, f)| (f.module.clone(), n)).collect();
        let mut house = Self { files, modules, imports: Vec::new() };
        house.imports =
            (0..house.files.len()).map(|n| house.find_imports(n)).collect();
        house
    }

    /// The imports of a file, each name once for each place.
    pub fn imports(&self, index: usize) -> &[Import] {
        &self.imports[index]
    }

    /// The real ones: the library, and what shuttle runs.
    pub fn both() -> &'static [Self; 2] {
        static BOTH: OnceLock<[House; 2]> = OnceLock::new();
        BOTH.get_or_init(|| [Self::library(library()), Self::model(library())])
    }

    /// The library, of these sources.
    pub fn library(sources: Vec<Source>) -> Self {
        let real = |f: &Source| !f.for_tests && !f.path.starts_with("model/");
        let files = sources.into_iter().filter(real);
        Self::new(files.map(|f| (module_of(&f.path), f)).collect())
    }

    /// What shuttle runs: a file of `model` in the place of each module that
    /// it stands for, with the files that it takes over by `#[path]`.
    pub fn model(sources: Vec<Source>) -> Self {
        let modeled: Vec<_> = sources
            .iter()
            .filter_map(|f| f.path.strip_prefix("model/"))
            .map(module_of)
            .filter(|m| m.first().is_some_and(|m| layer(m).is_some()))
            .collect();
        let taken: Vec<_> = sources
            .iter()
            .filter(|f| f.path.starts_with("model/"))
            .flat_map(|f| f.text.split("#[path = \"").skip(1))
            .filter_map(|rest| rest.split_once('"'))
            .map(|(path, _)| path.trim_start_matches("../").to_owned())
            .collect();
        let mut files = Vec::new();
        for f in sources.into_iter().filter(|f| !f.for_tests) {
            let mut module = module_of(&f.path);
            let model = f.path.starts_with("model/");
            if model && modeled.contains(&module[1..].to_vec()) {
                module.remove(0);
            } else if !model
                && modeled.iter().any(|m| m.first() == module.first())
                && !taken.contains(&f.path)
            {
                continue;
            }
            files.push((module, f));
        }
        Self::new(files)
    }

    /// The names from the root of what `path` names in `file`.
    fn absolute(
        &self,
        file: &File,
        path: &Path,
        depth: usize,
    ) -> Option<Vec<String>> {
        let here = || file.module.iter().chain(&path.inside).cloned();
        let first = path.names.first()?.as_str();
        let mut base: Vec<_> = here().collect();
        let mut rest = path.names.as_slice();
        match first {
            "crate" => return Some(rest[1..].to_vec()),
            "self" | "super" => {
                while let Some(up @ ("self" | "super")) =
                    rest.first().map(String::as_str)
                {
                    if up == "super" {
                        base.pop()?;
                    }
                    rest = &rest[1..];
                }
            }
            _ => {
                let child: Vec<_> = here().chain([first.to_owned()]).collect();
                if !self.modules.contains_key(&child) {
                    let known = file.uses.iter().find(|u| {
                        u.name == first && u.path.at != path.at && depth > 0
                    })?;
                    base = self.absolute(file, &known.path, depth - 1)?;
                    rest = &rest[1..];
                }
            }
        }
        Some(base.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The file that defines what `names` lead to from the root; none for a
    /// module itself.
    fn definer(&self, names: &[String], depth: usize) -> Option<usize> {
        let known = |n: &usize| self.modules.contains_key(&names[..*n]);
        let n = (0..=names.len()).rev().find(known)?;
        let index = self.modules[&names[..n]];
        let item = names.get(n)?;
        let file = &self.files[index];
        if depth == 0 || file.items.contains(item) || item == "*" {
            return Some(index);
        }
        for u in file.uses.iter().filter(|u| u.path.inside.is_empty()) {
            let Some(mut to) = self.absolute(file, &u.path, DEPTH) else {
                continue;
            };
            if u.name == *item {
                to.extend_from_slice(&names[n + 1..]);
                return self.definer(&to, depth - 1);
            }
            if u.name == "*" {
                to.pop();
                let of = self.modules.get(&to).map(|of| &self.files[*of]);
                if of.is_some_and(|of| of.items.contains(item)) {
                    return self.modules.get(&to).copied();
                }
            }
        }
        Some(index)
    }

    fn find_imports(&self, index: usize) -> Vec<Import> {
        let file = &self.files[index];
        let used = file.uses.iter().filter(|u| !self.passes_on(file, u));
        let mut imports = Vec::new();
        for path in used.map(|u| &u.path).chain(&file.paths) {
            let Some(names) = self.absolute(file, path, DEPTH) else {
                continue;
            };
            if let Some(to) = self.definer(&names, DEPTH)
                && to != index
            {
                let (at, path) = (path.at, path.names.join("::"));
                imports.push(Import { at, to, path, names });
            }
        }
        imports
    }

    /// Whether a `mod.rs` re-exports this and does not use it.
    fn passes_on(&self, file: &File, u: &Use) -> bool {
        let used = |name: &str| {
            places(&file.body, name).any(|at| {
                let before = &file.body[..at];
                let other =
                    ["::", ".", "fn ", "mod "].map(|s| before.ends_with(s));
                !other.contains(&true) && self::name(&file.body[at..]) == name
            })
        };
        let all = || {
            let module = self.absolute(file, &u.path, DEPTH)?;
            let of = self.modules.get(&module[..module.len() - 1])?;
            Some(&self.files[*of].items)
        };
        let named = match u.name.as_str() {
            "*" => all().is_some_and(|items| items.iter().any(|i| used(i))),
            name => used(name),
        };
        file.is_mod() && u.public && !named
    }
}
