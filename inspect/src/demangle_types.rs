//! The types in names of C++: what a template's arguments are.

use crate::demangle::{Kind, Names};

/// Words by letters: a letter, or a letter behind `D`, and the type.
const BUILTIN: &[u8] = b"v void\nw wchar_t\nb bool\nc char\na signed char\n\
    h unsigned char\ns short\nt unsigned short\ni int\nj unsigned int\n\
    l long\nm unsigned long\nx long long\ny unsigned long long\nn __int128\n\
    o unsigned __int128\nf float\nd double\ne long double\ng __float128\n\
    z ...\n";
const BUILTIN_D: &[u8] = b"d decimal64\ne decimal128\nf decimal32\n\
    h half\ni char32_t\ns char16_t\nu char8_t\na auto\nc decltype(auto)\n\
    n std::nullptr_t\n";

/// Operators by their two letters.
const OPERATORS: &[u8] = b"nw new\nna new[]\ndl delete\nda delete[]\nps +\n\
    ng -\nad &\nde *\nco ~\npl +\nmi -\nml *\ndv /\nrm %\nan &\nor |\neo ^\n\
    aS =\npL +=\nmI -=\nmL *=\ndV /=\nrM %=\naN &=\noR |=\neO ^=\nls <<\n\
    rs >>\nlS <<=\nrS >>=\neq ==\nne !=\nlt <\ngt >\nle <=\nge >=\nss <=>\n\
    nt !\naa &&\noo ||\npp ++\nmm --\ncm ,\npm ->*\npt ->\ncl ()\nix []\n\
    qu ?\naw co_await\n";

/// The word behind a key in one of these tables.
fn word(table: &'static [u8], key: &[u8]) -> Option<&'static [u8]> {
    let mut lines = table.split(|&byte| byte == b'\n');
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(b" "))
}

/// `operator+` and the like.
pub(crate) fn operator(names: &mut Names<'_>) -> Option<()> {
    if names.eat(b"cv") {
        names.put(b"operator ");
        return any(names);
    }
    if names.eat(b"li") {
        names.put(b"operator\"\" ");
        return names.source_name();
    }
    let key = names.rest().get(..2)?;
    let sign = word(OPERATORS, key)?;
    names.at += 2;
    names.put(b"operator");
    if sign[0].is_ascii_alphabetic() {
        names.put(b" ");
    }
    names.put(sign);
    Some(())
}

pub(crate) fn put_number(names: &mut Names<'_>, mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            break;
        }
    }
    names.put(&digits[at..]);
}

/// What was written, without the arguments of a template at its end.
pub(crate) fn without_arguments(written: &[u8]) -> &[u8] {
    if written.last() != Some(&b'>') {
        return written;
    }
    let mut depth = 0;
    for (i, byte) in written.iter().enumerate().rev() {
        match byte {
            b'>' => depth += 1,
            b'<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &written[..i];
        }
    }
    written
}

/// An argument of a template; a pack is as many as it has.
pub(crate) fn argument(names: &mut Names<'_>, first: &mut bool) -> Option<()> {
    if names.eat(b"J") {
        return names.deeper(|it| {
            while !it.eat(b"E") {
                argument(it, first)?;
            }
            Some(())
        });
    }
    if !*first {
        names.put(b", ");
    }
    *first = false;
    match names.peek() {
        b'L' => literal(names),
        b'X' => None,
        _ => any(names),
    }
}

/// `L <type> <value> E`.
fn literal(names: &mut Names<'_>) -> Option<()> {
    names.next()?;
    let kind = names.peek();
    if kind == b'_' {
        return None;
    }
    if kind == b'b' {
        names.next()?;
        let text: &[u8] = match names.next()? {
            b'0' => b"false",
            b'1' => b"true",
            _ => return None,
        };
        names.put(text);
        return names.eat(b"E").then_some(());
    }
    let suffix: Option<&[u8]> = match kind {
        b'i' => Some(b""),
        b'j' => Some(b"u"),
        b'l' => Some(b"l"),
        b'm' => Some(b"ul"),
        b'x' => Some(b"ll"),
        b'y' => Some(b"ull"),
        b'f' | b'd' | b'e' | b'g' => return None,
        _ => None,
    };
    match suffix {
        Some(_) => names.at += 1,
        None => {
            names.put(b"(");
            any(names)?;
            names.put(b")");
        }
    }
    if names.eat(b"n") {
        names.put(b"-");
    }
    let number = names.number()?;
    put_number(names, number);
    names.put(suffix.unwrap_or_default());
    names.eat(b"E").then_some(())
}

/// `T_`: an argument that is named elsewhere.
pub(crate) fn any_parameter(names: &mut Names<'_>) -> Option<()> {
    let from = names.at;
    names.next()?;
    _ = names.number();
    names.eat(b"_").then_some(())?;
    if names.quiet == 0 {
        return None;
    }
    names.remember(from, Kind::Type);
    Some(())
}

/// `<type>`.
pub(crate) fn any(names: &mut Names<'_>) -> Option<()> {
    names.deeper(|it| {
        let from = it.at;
        match it.peek() {
            b'P' | b'R' | b'O' | b'r' | b'V' | b'K' => modified(it)?,
            b'F' => {
                function(it, b"")?;
                it.remember(from, Kind::Type);
            }
            b'A' => {
                array(it, b"")?;
                it.remember(from, Kind::Type);
            }
            _ => base(it, from)?,
        }
        Some(())
    })
}

/// A type that is not made of another by a sign.
fn base(names: &mut Names<'_>, from: usize) -> Option<()> {
    match names.peek() {
        b'S' if !names.rest().starts_with(b"St") => {
            names.reference()?;
            if names.peek() != b'I' {
                return Some(());
            }
            names.arguments()?;
        }
        b'T' => {
            any_parameter(names)?;
            if names.peek() != b'I' {
                return Some(());
            }
            names.arguments()?;
        }
        b'N' | b'Z' | b'S' | b'0'..=b'9' => _ = names.name()?,
        b'M' => {
            names.next()?;
            return member(names, from);
        }
        b'D' => {
            names.next()?;
            if names.eat(b"p") {
                any(names)?;
            } else {
                let key = names.next()?;
                names.put(word(BUILTIN_D, &[key])?);
                return Some(());
            }
        }
        key => {
            let text = word(BUILTIN, &[key])?;
            names.next()?;
            names.put(text);
            return Some(());
        }
    }
    names.remember(from, Kind::Type);
    Some(())
}

/// So many signs in a row.
const SIGNS: usize = 8;

/// Pointers, references and qualifiers, which stand before their type, and are
/// written behind it.
fn modified(names: &mut Names<'_>) -> Option<()> {
    let mut begins = [0; SIGNS];
    let mut count = 0;
    loop {
        let from = names.at;
        match names.peek() {
            b'P' | b'R' | b'O' => _ = names.next(),
            b'r' | b'V' | b'K' => {
                _ = names.eat(b"r");
                _ = names.eat(b"V");
                _ = names.eat(b"K");
            }
            _ => break,
        }
        *begins.get_mut(count)? = from;
        count += 1;
    }
    // The signs as they are written, the innermost first.
    let mut signs = [0; 48];
    let mut len = 0;
    for &letter in names.written(begins[0], names.at).iter().rev() {
        let sign: &[u8] = match letter {
            b'P' => b"*",
            b'R' => b"&",
            b'O' => b"&&",
            b'K' => b" const",
            b'V' => b" volatile",
            _ => b" restrict",
        };
        signs.get_mut(len..len + sign.len())?.copy_from_slice(sign);
        len += sign.len();
    }
    let signs = &signs[..len];
    let from = names.at;
    match names.peek() {
        b'F' => {
            function(names, signs)?;
            names.remember(from, Kind::Type);
        }
        b'A' => {
            array(names, signs)?;
            names.remember(from, Kind::Type);
        }
        _ => {
            any(names)?;
            names.put(signs);
        }
    }
    for &from in begins[..count].iter().rev() {
        names.remember(from, Kind::Type);
    }
    Some(())
}

/// `F … E`, with signs as of a pointer to it.
fn function(names: &mut Names<'_>, signs: &[u8]) -> Option<()> {
    names.next()?;
    names.eat(b"Y");
    any(names)?;
    names.put(b" ");
    if !signs.is_empty() {
        names.put(b"(");
        names.put(signs);
        names.put(b")");
    }
    names.put(b"(");
    if names.eat(b"v") && names.peek() != b'E' {
        return None;
    }
    let mut first = true;
    while !names.eat(b"E") {
        if names.eat(b"RE") || names.eat(b"OE") {
            break;
        }
        if !first {
            names.put(b", ");
        }
        first = false;
        any(names)?;
    }
    names.put(b")");
    Some(())
}

/// `A <number> _ <type>`.
fn array(names: &mut Names<'_>, signs: &[u8]) -> Option<()> {
    names.next()?;
    let count = names.number();
    names.eat(b"_").then_some(())?;
    any(names)?;
    names.put(b" ");
    if !signs.is_empty() {
        names.put(b"(");
        names.put(signs);
        names.put(b") ");
    }
    names.put(b"[");
    if let Some(count) = count {
        put_number(names, count);
    }
    names.put(b"]");
    Some(())
}

/// `M <class> <member>`: a pointer to a member. Only where it is not written.
fn member(names: &mut Names<'_>, from: usize) -> Option<()> {
    if names.quiet == 0 {
        return None;
    }
    any(names)?;
    let inner = names.at;
    let qualified = names.peek() == b'K';
    _ = names.eat(b"K");
    any(names)?;
    if qualified {
        names.remember(inner, Kind::Type);
    }
    names.remember(from, Kind::Type);
    Some(())
}
