//! Names as the crate cpp_demangle has them: of the functions of libstdc++,
//! which has all kinds; and some chosen ones.

use crate::{
    demangle::demangle,
    elf::{DYNSYM, Elf, SYMBOL, Symbol},
    mapped::Mapped,
    memory::{Fd, Memory},
    names::{Table, without_version},
};
use cpp_demangle::DemangleOptions;

fn ours(mangled: &str) -> Option<String> {
    let mut room = [0; 2000];
    let len = demangle(mangled.as_bytes(), &mut room, 64 << 10)?;
    Some(String::from_utf8_lossy(&room[..len]).into_owned())
}

fn theirs(mangled: &str) -> Option<String> {
    let options = DemangleOptions::new().no_params().no_return_type();
    let symbol = cpp_demangle::Symbol::new(mangled).ok()?;
    symbol.demangle_with_options(&options).ok()
}

/// The names of the functions that a library has for others.
fn exported(path: &std::ffi::CStr) -> Vec<String> {
    let Some(file) = Fd::open(path) else { return Vec::new() };
    let file = Mapped::new(&file).expect("a library");
    let elf = Elf::new(&file, 0).expect("a library");
    let table = Table::in_file(&elf, DYNSYM).expect("its symbols");
    let mut all = Vec::new();
    for i in 0..table.len {
        let mut bytes = [0; SYMBOL];
        assert!(file.read(table.at + i * SYMBOL as u64, &mut bytes));
        let Some(symbol) = Symbol::new(&bytes) else { continue };
        let mut room = [0; 4000];
        let at = table.names + u64::from(symbol.name);
        let name = file.c_str(at, &mut room).expect("its name");
        let name = without_version(name);
        all.push(String::from_utf8_lossy(name).into_owned());
    }
    all
}

/// The rest differs on purpose: an empty pack leaves no comma, numbers are
/// `8u`, what a thunk calls is named, and no parameters are shown anywhere.
#[test]
fn names_are_those_of_another_demangler() {
    let mut all = exported(c"/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
    all.retain(|name| name.starts_with("_Z"));
    let count = all.len();
    assert!(count > 3000, "{count} names");
    let (mut same, mut none) = (0, 0);
    for name in &all {
        match ours(name) {
            None => none += 1,
            name_of if name_of == theirs(name) => same += 1,
            _ => {}
        }
    }
    println!("{count} names, {same} the same, {none} not understood");
    assert!(same > count / 10 * 9, "{same} of {count}");
    assert!(none < count / 50, "{none} of {count}");
}

#[test]
fn chosen_names() {
    let cases = [
        ("_Z3runv", "run"),
        ("_ZN2ns6Worker3runEi", "ns::Worker::run"),
        ("_ZNK2ns6WorkercvbEv", "ns::Worker::operator bool"),
        ("_ZN1AC2Ev", "A::A"),
        ("_ZN1AIiED1Ev", "A<int>::~A"),
        ("_ZN1AIiLi3ELb1ELj8EE1fEv", "A<int, 3, true, 8u>::f"),
        ("_Z1fIJEEvv", "f<>"),
        ("_Z1fIJidEEvv", "f<int, double>"),
        ("_Z1fIPKcRA3_iPFviEEvv", "f<char const*, int (&) [3], void (*)(int)>"),
        (
            "_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc",
            "std::operator<< <std::char_traits<char> >",
        ),
        (
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back",
        ),
        ("_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()"),
        ("_ZZN1A1fEiENKUliE0_clEi", "A::f::{lambda()#2}::operator()"),
        ("_ZN12_GLOBAL__N_15innerEi", "(anonymous namespace)::inner"),
        ("_ZThn16_N1B1fEv", "B::f"),
        ("_Z3addILi5EEiv.constprop.0", "add<5>"),
        (
            "_ZN4core3ops8function6FnOnce9call_once17hca6e29ebf73568afE",
            "core::ops::function::FnOnce::call_once",
        ),
        (
            "_ZN3std2rt10lang_start28_$u7b$$u7b$closure$u7d$$u7d$17h1b2f665d548c84fbE",
            "std::rt::lang_start::{{closure}}",
        ),
        (
            "_ZN38_$LT$a..B$u20$as$u20$c..D$LT$E$GT$$GT$1f17h0123456789abcdefE",
            "<a::B as c::D<E>>::f",
        ),
    ];
    for (mangled, want) in cases {
        assert_eq!(ours(mangled).as_deref(), Some(want), "{mangled}");
    }
    for other in ["main", "_Z", "_ZN", "_ZN1", "_Zx", "_ZTV1A", "_RNvCs_3a1b"] {
        assert_eq!(ours(other), None, "{other}");
    }
}

/// Damaged names are names as well.
#[test]
fn damaged_names_are_read_to_an_end() {
    let all = exported(c"/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
    let mut random = 99_u64;
    for name in all.iter().step_by(7) {
        let mut name = name.clone().into_bytes();
        for _ in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            let at = (random >> 33) as usize % name.len();
            let with = b"NESTZIJ0_9CDKPLXUl$"[(random >> 20) as usize % 19];
            let last = name.len() - 1;
            name[at.max(2).min(last)] = with;
            let mut room = [0; 500];
            _ = demangle(&name, &mut room, 3 << 10);
        }
    }
}
