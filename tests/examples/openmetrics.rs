//! A reader of OpenMetrics 1.0 that takes nothing but what the specification
//! allows: metric families, each with TYPE, UNIT and HELP before its samples,
//! and `# EOF` at the end. Of the types it knows those that the example has.

use std::collections::BTreeMap;

/// A metric family: its samples by suffix of the name and labels.
#[derive(Default)]
pub struct Family {
    kind: String,
    unit: Option<String>,
    help: Option<String>,
    pub samples: BTreeMap<String, f64>,
}

/// The families of a text by name.
pub type Families = BTreeMap<String, Family>;

/// Reads a text. Panics with the line that breaks a rule.
pub fn parse(text: &str) -> Families {
    let body = text.strip_suffix("# EOF\n").expect("no EOF at the end");
    assert!(body.ends_with('\n') && !body.contains('\r'), "line ends");
    let mut families = Families::new();
    let mut current = String::new();
    for line in body.lines() {
        assert_eq!(line.trim(), line, "spaces around a line");
        match line.strip_prefix("# ") {
            Some(comment) => describe(comment, &mut families, &mut current),
            None => {
                let family = families.get_mut(&current);
                sample(line, &current, family.expect(line));
            }
        }
    }
    families.iter().for_each(|(name, family)| check(name, family, &families));
    families
}

/// A line of metadata.
fn describe(comment: &str, families: &mut Families, current: &mut String) {
    let mut words = comment.splitn(3, ' ');
    let mut word = || words.next().expect(comment);
    let (what, name, value) = (word(), word(), word());
    is_name(name, true);
    if name != current {
        let new = families.insert(name.to_owned(), Family::default());
        assert!(new.is_none(), "{name} comes in two parts");
        name.clone_into(current);
    }
    let family = families.get_mut(name).expect(name);
    assert!(family.samples.is_empty(), "{what} of {name} after its samples");
    match what {
        "TYPE" => {
            assert!(family.kind.is_empty(), "two types of {name}");
            assert!(["gauge", "counter", "info"].contains(&value), "{comment}");
            value.clone_into(&mut family.kind);
        }
        "UNIT" => {
            assert!(name.ends_with(&format!("_{value}")), "{comment}");
            assert!(family.unit.replace(value.to_owned()).is_none());
        }
        "HELP" => {
            unescape(value);
            assert!(family.help.replace(value.to_owned()).is_none());
        }
        _ => panic!("not metadata: {comment}"),
    }
}

/// `name{label="value",...} number`
fn sample(line: &str, family: &str, to: &mut Family) {
    let rest = line.strip_prefix(family).expect(line);
    let end = rest.find(['{', ' ']).expect(line);
    let (suffix, rest) = rest.split_at(end);
    let expected = match to.kind.as_str() {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    assert_eq!(suffix, expected, "{line}");
    let (labels, number) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once("} ").expect(line),
        None => ("", rest.strip_prefix(' ').expect(line)),
    };
    self::labels(labels);
    let plain = |c: char| c.is_ascii_digit() || "+-.e".contains(c);
    assert!(number.chars().all(plain), "{line}");
    let value: f64 = number.parse().expect(line);
    assert!(value.is_finite() && (to.kind == "gauge" || value >= 0.0));
    assert!(to.kind != "info" || value == 1.0, "{line}");
    let new = to.samples.insert(labels.to_owned(), value);
    assert!(new.is_none(), "twice: {line}");
}

fn labels(mut rest: &str) {
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect(rest);
        is_name(name, false);
        assert!(!names.contains(&name), "twice: {name}");
        names.push(name);
        let end = unescape(after).expect("no quote at the end of a label");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// Checks the escapes of a text, and finds the first quote that is none.
fn unescape(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at),
            '\\' => {
                let escaped = chars.next().map(|(_, c)| c);
                assert!(matches!(escaped, Some('\\' | '"' | 'n')), "{text}");
            }
            _ => {}
        }
    }
    None
}

fn is_name(name: &str, metric: bool) {
    let good =
        |c: char| c.is_ascii_alphanumeric() || c == '_' || metric && c == ':';
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    assert!(!name.is_empty() && !digit && name.chars().all(good), "{name}");
}

/// What holds for a family once all are known.
fn check(name: &str, family: &Family, all: &Families) {
    assert!(!family.kind.is_empty(), "{name} has no type");
    assert!(family.help.is_some(), "{name} has no help");
    assert!(!family.samples.is_empty(), "{name} has no samples");
    for suffix in ["_total", "_created", "_info", "_bucket", "_count", "_sum"] {
        assert!(!name.ends_with(suffix), "{name}: a reserved suffix");
        let other = format!("{name}{suffix}");
        assert!(!all.contains_key(&other), "{name} clashes with {other}");
    }
}

impl Family {
    /// The value of its one sample, or the sum of all.
    pub fn sum(&self) -> f64 {
        self.samples.values().sum()
    }

    pub fn is_counter(&self) -> bool {
        self.kind == "counter"
    }
}
