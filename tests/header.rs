//! `include/gmp.h` is what `src/ffi` says, and nothing else.
//!
//! `src/ffi/template.h` is the header but for its declarations: a line
//! `@chan.rs` there stands for what cbindgen makes of that file. `make header`
//! (GMPRT_BLESS=1 with this test) writes the header; without that the test
//! compares. The other tests hold what a reader relies on: the list of
//! contents, the names in the text, the examples.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::iter::Peekable;
use std::process::Command;

/// The longest line of the header.
const COLUMNS: usize = 80;

/// What the examples of the header take for granted.
const AROUND_EXAMPLES: &str = "\
#include <gmp.h>
#include <stdio.h>

void serve(void *client);
int fetch(void *url);
extern void *client, *first, *second;
extern gmp_g *g;
extern gmp_chan *in, *stop, *lines;
extern int job;
extern gmp_barrier all;
extern const struct timespec *noon;
void drop_line(void *elem);
";

#[test]
fn gmp_h_is_generated_from_ffi() {
    let made = generate();
    let wide = made.lines().find(|line| line.len() > COLUMNS);
    assert_eq!(wide, None, "a line of more than {COLUMNS} columns");
    let path = common::repository().join("include/gmp.h");
    if env::var_os("GMPRT_BLESS").is_some() {
        fs::write(&path, &made).expect("write include/gmp.h");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "include/gmp.h is not what src/ffi says; run `make header`"
    );
}

fn ffi(name: &str) -> String {
    let path = common::repository().join("src/ffi").join(name);
    fs::read_to_string(path).expect(name)
}

fn generate() -> String {
    let mut header = String::new();
    for line in ffi("template.h").lines() {
        match line.strip_prefix('@') {
            Some(file) => header += &declarations(file),
            None => header += &format!("{line}\n"),
        }
    }
    VERSION.iter().fold(header, |h, (mark, part)| h.replace(mark, part))
}

/// The parts of the version, and what stands for them in the template.
const VERSION: [(&str, &str); 3] = [
    ("%MAJOR%", env!("CARGO_PKG_VERSION_MAJOR")),
    ("%MINOR%", env!("CARGO_PKG_VERSION_MINOR")),
    ("%PATCH%", env!("CARGO_PKG_VERSION_PATCH")),
];

/// What cbindgen makes of a file, in the form of the header.
fn declarations(file: &str) -> String {
    let root = common::repository();
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))
        .expect("cbindgen.toml");
    let builder = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/ffi").join(file));
    let mut made = Vec::new();
    builder.generate().expect(file).write(&mut made);
    let made = String::from_utf8(made).expect("UTF-8");
    let mut lines = made.trim().lines().peekable();
    let mut text = String::new();
    while let Some(line) = lines.next() {
        if line.trim_start() == "/**" {
            text += &comment(line, &mut lines);
        } else if line.contains('(') && !line.starts_with('#') {
            let mut whole = line.to_owned();
            while !whole.ends_with(';') {
                let more = lines.next().expect("the end of a declaration");
                whole = format!("{whole} {}", more.trim_start());
            }
            text += &declaration(&whole);
        } else {
            text += &format!("{}\n", by_typedef(line));
        }
    }
    text
}

/// A doc comment, which begins with `first`. What is for Rust, its `# Safety`,
/// goes, and code in fences is indented instead.
fn comment<'a>(
    first: &str,
    lines: &mut Peekable<impl Iterator<Item = &'a str>>,
) -> String {
    let indent = &first[..first.find('/').expect("a comment")];
    let mut text = Vec::new();
    let (mut code, mut safety) = (false, false);
    for line in lines.by_ref() {
        let line = line.trim_start();
        if line == "*/" {
            break;
        }
        let line = line[1..].strip_prefix(' ').unwrap_or(&line[1..]);
        safety |= line == "# Safety";
        if line.starts_with("```") {
            code = !code;
        } else if !safety {
            text.push(if code { format!("    {line}") } else { line.into() });
        }
    }
    while text.last().is_some_and(String::is_empty) {
        text.pop();
    }
    let whole = format!("{indent}/** {} */\n", text.join("\n"));
    if text.len() == 1 && whole.len() <= COLUMNS + 1 {
        return whole;
    }
    let mut whole = format!("{indent}/**\n");
    for line in text {
        whole += format!("{indent} * {line}").trim_end();
        whole.push('\n');
    }
    whole + indent + " */\n"
}

/// A type by the name that its typedef gives it.
fn by_typedef(line: &str) -> String {
    if line.starts_with("typedef struct") {
        return line.to_owned();
    }
    line.replace("struct gmp_", "gmp_")
}

/// A declaration in lines that are filled. C has `bool` from a header only,
/// which a program may want to do without.
fn declaration(whole: &str) -> String {
    let whole = by_typedef(whole);
    let mut text = String::new();
    let mut column = 0;
    for part in whole.split_inclusive(", ") {
        if column + part.trim_end().len() > COLUMNS {
            text.truncate(text.trim_end().len());
            text += "\n    ";
            column = 4;
        }
        text += part;
        column += part.len();
    }
    text.push('\n');
    match text.strip_prefix("bool ") {
        Some(rest) => {
            format!("#ifdef __cplusplus\n{text}#else\n_Bool {rest}#endif\n")
        }
        None => text,
    }
}

fn header() -> String {
    let path = common::includedir().join("gmp.h");
    fs::read_to_string(path).expect("gmp.h")
}

/// The headings of the header, each with what stands below it.
fn sections(header: &str) -> Vec<(&str, &str)> {
    let below = |part| str::split_once(part, " -").expect("a heading's line");
    header.split("\n/* --- ").skip(1).map(below).collect()
}

/// Names in C code or in words.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The functions that C code declares: what stands before a parenthesis.
fn functions(code: &str) -> BTreeSet<&str> {
    let declares = |line: &&str| {
        line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && !["static ", "typedef "].iter().any(|s| line.starts_with(s))
    };
    let before = |line| str::split_once(line, '(').map(|(before, _)| before);
    let last = |before| names(before).last();
    let lines = code.lines().filter(declares);
    lines
        .filter_map(before)
        .filter_map(last)
        .filter(|name| name.starts_with("gmp_"))
        .collect()
}

/// What the files of the surface export.
fn exported() -> BTreeSet<String> {
    let dir = common::repository().join("src/ffi");
    let mut exported = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("src/ffi").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a source file");
        for item in text.split("\npub ").skip(1) {
            let item = item.strip_prefix("unsafe ").unwrap_or(item);
            if let Some(function) = item.strip_prefix("extern \"C\" fn ") {
                exported.extend(names(function).next().map(str::to_owned));
            }
        }
    }
    exported
}

#[test]
fn each_function_stands_under_one_heading() {
    let header = header();
    let mut found = BTreeSet::new();
    for (heading, text) in sections(&header) {
        for function in functions(text) {
            let first = found.insert(function.to_owned());
            assert!(first, "{function} stands under {heading} again");
        }
    }
    found.remove("gmp_errno_address"); // the C library's, by another name
    let exported = exported();
    assert!(exported.len() > 130, "{} functions in src/ffi", exported.len());
    let missing: Vec<_> = exported.symmetric_difference(&found).collect();
    assert!(missing.is_empty(), "in gmp.h or src/ffi alone: {missing:?}");
}

#[test]
fn contents_are_the_headings() {
    let header = header();
    let (_, contents) = header.split_once("Contents:\n").expect("contents");
    let (contents, _) = contents.split_once(" */").expect("a comment's end");
    // A heading has a column of its own, and may have two words.
    let heading = |line| str::strip_prefix(line, " *   ")?.get(..13);
    let contents: Vec<_> =
        contents.lines().filter_map(heading).map(str::trim_end).collect();
    let headings: Vec<_> =
        sections(&header).iter().map(|(heading, _)| *heading).collect();
    assert!(headings.len() > 15, "{headings:?}");
    assert_eq!(contents, headings);
}

/// The doc comments of the header, each with the declaration that follows.
fn documented(header: &str) -> Vec<(&str, &str)> {
    let mut documented = Vec::new();
    for part in header.split("/**").skip(1) {
        let (text, after) = part.split_once("*/").expect("a comment's end");
        // A structure's, or a declaration's.
        let end = after.find("\n}").or_else(|| after.find(';'));
        documented.push((text, &after[..end.unwrap_or(after.len())]));
    }
    documented
}

/// The text speaks of the parameters that the declaration has. (A select's
/// text speaks of the fields of its cases, too.)
#[test]
fn text_and_declaration_agree() {
    let header = header();
    let documented = documented(&header);
    assert!(documented.len() > 150, "{} doc comments", documented.len());
    let mut wrong = Vec::new();
    for (text, declaration) in documented {
        let case = if declaration.contains("gmp_case *") {
            "op elem result ch"
        } else {
            ""
        };
        let known: Vec<_> = names(declaration).chain(names(case)).collect();
        for quoted in text.split('`').skip(1).step_by(2) {
            for name in names(quoted).filter(|name| !known.contains(name)) {
                wrong.push(format!("{name} of {}", declaration.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such parameters: {wrong:#?}");
}

/// A caller wants to know of each function whether it blocks.
#[test]
fn each_function_says_whether_it_blocks() {
    // They say that the caller may continue on another thread, or not at all.
    const SWITCH: [&str; 3] = ["gmp_yield", "gmp_checkpoint", "gmp_exit"];
    let header = header();
    let mut silent = Vec::new();
    for (text, declaration) in documented(&header) {
        let words: Vec<_> = names(text).collect();
        let quiet = !["block", "blocks", "Blocks"]
            .iter()
            .any(|word| words.contains(word));
        let functions = functions(declaration);
        let functions = functions.into_iter().filter(|_| quiet);
        silent.extend(functions.filter(|f| !SWITCH.contains(f)));
    }
    assert!(silent.is_empty(), "do these block? {silent:?}");
}

/// Whatever the text names is there.
#[test]
fn names_in_the_text_are_declared() {
    let header = header();
    let mut code = header.clone();
    let mut text = String::new();
    while let Some((before, rest)) = code.split_once("/*") {
        let (comment, after) = rest.split_once("*/").expect("its end");
        text += comment;
        code = format!("{before} {after}");
    }
    let declared: BTreeSet<_> = names(&code).collect();
    let ours =
        |name: &&str| name.starts_with("gmp_") || name.starts_with("GMP_");
    const SETTINGS: [&str; 6] = [
        "GMP_MAXPROCS",
        "GMP_MAXTHREADS",
        "GMP_STACKSIZE",
        "GMP_GOGC",
        "GMP_MEMLIMIT",
        "GMP_GC_SIGNAL",
    ];
    let missing: Vec<_> = names(&text)
        .filter(ours)
        .filter(|name| !declared.contains(name) && !SETTINGS.contains(name))
        .collect();
    assert!(missing.is_empty(), "named and not declared: {missing:?}");
}

/// The examples in the comments of the header: what is indented by four.
fn examples(header: &str) -> Vec<String> {
    let mut examples = vec![String::new()];
    for line in header.lines() {
        let last = examples.last_mut().expect("an example");
        match line.trim_start().strip_prefix("*     ") {
            Some(code) => *last += &format!("{code}\n"),
            None if !last.is_empty() => examples.push(String::new()),
            None => {}
        }
    }
    examples.pop();
    examples
}

/// Compiles C, and says whether that went without a warning.
fn compiles(name: &str, dialect: &str, text: &str) -> bool {
    let path = common::scratch().join(format!("{name}-{dialect}.c"));
    fs::write(&path, text).expect("write a program");
    let mut gcc = Command::new("gcc");
    gcc.args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
    gcc.arg(format!("-std={dialect}"));
    gcc.arg("-I").arg(common::includedir()).arg(path);
    let done = gcc.output().expect("run gcc");
    println!("{}", String::from_utf8_lossy(&done.stderr));
    done.status.success()
}

#[test]
fn examples_compile() {
    let header = header();
    let examples = examples(&header);
    for call in ["gmp_go(", "gmp_select(", "gmp_cancel(", "gmp_group_make("] {
        assert!(examples.iter().any(|e| e.contains(call)), "{call}: none");
    }
    let mut program = AROUND_EXAMPLES.to_owned();
    for (n, example) in examples.iter().enumerate() {
        let outside = ["static ", "extern "];
        program += &match outside.iter().any(|w| example.starts_with(w)) {
            true => format!("\n{example}"),
            false => {
                format!(
                    "\nvoid example{n}(void);\nvoid example{n}(void)\n{{\n{example}}}\n"
                )
            }
        };
    }
    assert!(compiles("examples", "c11", &program), "{program}");
}

/// The declarations say `_Bool`, so `bool` is the program's own, whatever it
/// means by it; but in C23 it is a keyword.
#[test]
fn a_program_may_have_its_own_bool() {
    let own = "#include <gmp.h>\n\
               static int bool = 1;\n\
               static int not(int bool) { return !bool; }\n\
               int main(void) { return not(bool) + gmp_cancelled(); }\n";
    let other = "typedef unsigned char bool;\n#include <gmp.h>\n\
                 int main(void) { bool no = gmp_cancelled(); return no; }\n";
    let usual = "#include <gmp.h>\n#include <stdbool.h>\n\
                 int main(void) { bool no = gmp_cancelled(); return no; }\n";
    for dialect in ["c99", "c11", "gnu11", "c17"] {
        assert!(compiles("own-bool", dialect, own), "{dialect}");
        assert!(compiles("other-bool", dialect, other), "{dialect}");
        assert!(compiles("usual-bool", dialect, usual), "{dialect}");
    }
    // A keyword where gcc has that already.
    let keyword = !compiles("keyword", "c2x", "extern int bool;\n");
    assert_eq!(!compiles("own-bool", "c2x", own), keyword);
    assert!(compiles("usual-bool", "c2x", usual));
}
