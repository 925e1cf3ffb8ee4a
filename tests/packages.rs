//! Programs of users who take gmprt by pkg-config, CMake or Meson: installed,
//! moved, or as a part of their own build. `make` has built it before.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::run;
use common::skip::lacks;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one line of shell may take.
const LIMIT: Duration = Duration::from_secs(300);
const ANSWER: &str = "answer 42\n";

/// An empty directory for the test called `name`, with the users' programs.
fn directory(name: &str) -> PathBuf {
    let dir = common::scratch().join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("a directory");
    let users = common::repository().join("tests/packages");
    says(&dir, &format!("cp -r {}/. users", users.display()));
    dir
}

/// What a line of shell prints that runs in `dir` and ends well.
fn says(dir: &Path, line: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", line])
        .current_dir(dir)
        .env("ROOT", common::repository())
        .env("CARGO", dir.join("users/cargo"))
        .env("BUILT", built())
        // What an outer make says is not for these.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("LD_LIBRARY_PATH");
    let outcome = run(&mut shell, LIMIT);
    outcome.exited(0);
    outcome.stdout
}

/// Where cargo has built what `make` has put into the build folder. In place of
/// cargo, `tests/packages/cargo` hands that over: the users' builds are tried
/// here, and not the minutes of the library's own.
fn built() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = named.unwrap_or_else(|| common::repository().join("target"));
    target.join("release")
}

/// Installs below `dir`, with more variables for make.
fn install(dir: &Path, variables: &str) {
    let lib = std::env::var("GMPRT_LIBDIR").unwrap_or("build/lib".into());
    let build = Path::new(&lib).with_file_name("");
    let line =
        format!("make -C $ROOT install BUILD={} {variables}", build.display());
    says(dir, &line);
}

/// A prefix that is moved after its installation takes everything along, for
/// pkg-config if it is told to look.
#[test]
fn pkg_config_moves_with_the_prefix() {
    if lacks(&["pkg-config"]) {
        return;
    }
    let dir = directory("pc_moved");
    install(&dir, "PREFIX=$PWD/first");
    says(&dir, "mv first second");
    let line = "PKG_CONFIG_PATH=$PWD/second/lib/pkgconfig; \
                export PKG_CONFIG_PATH; \
                flags=$(pkg-config --define-prefix --cflags --libs gmprt); \
                cc users/user.c $flags -Wl,-rpath,$PWD/second/lib -o user; \
                ./user; pkg-config --variable=libdir gmprt";
    let said = says(&dir, line);
    assert!(said.starts_with(ANSWER), "{said}");
    // A library's folder that is not below the prefix stays where it is.
    install(&dir, "PREFIX=$PWD/third LIBDIR=$PWD/apart");
    let line = "PKG_CONFIG_PATH=apart/pkgconfig pkg-config --libs gmprt";
    let said = says(&dir, line);
    assert!(said.contains("/apart -lgmprt"), "{said}");
    // A relative one is below it.
    install(&dir, "PREFIX=$PWD/fourth LIBDIR=lib64");
    let line = "PKG_CONFIG_PATH=fourth/lib64/pkgconfig pkg-config --libs gmprt";
    let said = says(&dir, line);
    assert!(said.contains("/fourth/lib64 -lgmprt"), "{said}");
}

/// A person who looks at a package finds where it is from and its licence.
#[test]
fn pkg_config_files_say_whose_they_are() {
    let dir = directory("pc_fields");
    install(&dir, "PREFIX=$PWD/p HOMEPAGE=https://example.org/gmprt");
    for name in ["gmprt", "gmprt-beside"] {
        let file = dir.join(format!("p/lib/pkgconfig/{name}.pc"));
        let text = fs::read_to_string(file).expect(name);
        for field in [
            "URL: https://example.org/gmprt\n",
            "License: MIT OR Apache-2.0\n",
            concat!("Version: ", env!("CARGO_PKG_VERSION"), "\n"),
            "libdir=${prefix}/lib\n",
            "includedir=${prefix}/include\n",
        ] {
            assert!(text.contains(field), "no {field} in {text}");
        }
        assert!(!text.contains('@'), "{text}");
    }
}

/// Configures and builds the user's project with this prefix, and runs all its
/// programs.
fn cmake_user(dir: &Path, build: &str, prefix: &str) {
    let line = format!(
        "cmake -S users/cmake -B {build} -DCMAKE_PREFIX_PATH=$PWD/{prefix} \
         && cmake --build {build}"
    );
    says(dir, &line);
    for program in ["shared", "cxx", "archive", "entered"] {
        assert_eq!(says(dir, &format!("{build}/{program}")), ANSWER);
    }
    says(dir, &format!("{build}/beside"));
    let needed = says(dir, &format!("readelf -d {build}/archive"));
    assert!(!needed.contains("libgmprt"), "{needed}");
    let needed = says(dir, &format!("readelf -d {build}/shared"));
    assert!(needed.contains("[libgmprt.so.0]"), "{needed}");
}

/// Also where the library's folder is one of Debian's, and after a move.
#[test]
fn cmake_finds_it_where_it_lies() {
    if lacks(&["cmake", "g++"]) {
        return;
    }
    let dir = directory("cmake");
    install(&dir, "PREFIX=$PWD/plain");
    cmake_user(&dir, "build-plain", "plain");
    says(&dir, "mv plain moved");
    cmake_user(&dir, "build-moved", "moved");
    install(&dir, "PREFIX=$PWD/multi LIBDIR=$PWD/multi/lib/x86_64-linux-gnu");
    cmake_user(&dir, "build-multi", "multi");
}

/// Before 1.0 a minor version is another surface; a smaller patch is not.
#[test]
fn cmake_compares_versions() {
    if lacks(&["cmake"]) {
        return;
    }
    let dir = directory("cmake_version");
    install(&dir, "PREFIX=$PWD/p");
    let script = "set(CMAKE_PREFIX_PATH ${P})\n\
                  find_package(gmprt ${V} CONFIG QUIET)\n\
                  message(\"found ${gmprt_FOUND}\")\n";
    let project = format!(
        "cmake_minimum_required(VERSION 3.19)\nproject(v LANGUAGES C)\n{script}"
    );
    fs::create_dir(dir.join("v")).expect("a directory");
    fs::write(dir.join("v/CMakeLists.txt"), project).expect("a project");
    let found = |version: &str| {
        let line = format!("cmake -S v -B b -DP=$PWD/p '-DV={version}' 2>&1");
        says(&dir, &line).contains("found TRUE\n")
            || says(&dir, &line).contains("found 1\n")
    };
    let ours = env!("CARGO_PKG_VERSION");
    let (minor, _) = ours.rsplit_once('.').expect("a version");
    let next = format!("{minor}.99");
    let range = format!("{minor}...{next}");
    for good in ["", minor, ours, &format!("{ours};EXACT"), &range] {
        assert!(found(good), "{good}");
    }
    for bad in ["0.0.9", "0.99", "1", "99.0", &next, "0.98...0.99"] {
        assert!(!found(bad), "{bad}");
    }
}

/// CMake has make build the library, and the program waits for that.
#[test]
fn cmake_fetches_the_source() {
    if lacks(&["cmake"]) {
        return;
    }
    let dir = directory("cmake_fetch");
    let line = "cmake -S users/fetch -B build -DGMPRT_SOURCE=$ROOT \
                && cmake --build build";
    says(&dir, line);
    for program in ["gmprt_user", "gmprt_static_user"] {
        assert_eq!(says(&dir, &format!("build/{program}")), ANSWER);
    }
    says(&dir, "build/beside_user");
}

/// Meson finds what is installed by pkg-config.
#[test]
fn meson_finds_it() {
    if lacks(&["meson", "ninja", "pkg-config"]) {
        return;
    }
    let dir = directory("meson");
    install(&dir, "PREFIX=$PWD/p");
    says(&dir, "cp users/user.c users/meson");
    let line = "PKG_CONFIG_PATH=$PWD/p/lib/pkgconfig \
                meson setup build users/meson && meson compile -C build";
    says(&dir, line);
    assert_eq!(says(&dir, "LD_LIBRARY_PATH=p/lib build/user"), ANSWER);
}

/// Where nothing is installed, the wrap unpacks the tarball, and make builds.
#[test]
fn meson_wraps_the_tarball() {
    if lacks(&["meson", "ninja"]) {
        return;
    }
    let dir = directory("meson_wrap");
    says(&dir, "make -C $ROOT dist BUILD=$PWD/dist");
    let cache = "users/meson/subprojects/packagecache";
    let line = format!(
        "cp users/user.c users/meson; mkdir -p {cache}; \
         cp dist/gmprt-*.tar.gz {cache}; \
         cp dist/gmprt.wrap users/meson/subprojects; \
         PKG_CONFIG_LIBDIR=$PWD/none meson setup build users/meson \
         && meson compile -C build"
    );
    says(&dir, &line);
    assert_eq!(says(&dir, "build/user"), ANSWER);
}

/// Debian's copyright file names each crate's licence, and has its text. A
/// crate under one whose text is not known is refused.
#[test]
fn the_copyright_file_has_each_crate() {
    if lacks(&["python3"]) {
        return;
    }
    let dir = directory("licences");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--format-version=1"]);
    cargo.arg("--filter-platform=x86_64-unknown-linux-gnu");
    let metadata = run(cargo.current_dir(common::repository()), LIMIT);
    let metadata = &metadata.exited(0).stdout;
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let crates = packages.iter().filter(|p| !p["source"].is_null());
    let script = common::repository().join("packaging/licences.py");
    fs::create_dir(dir.join("vendor")).expect("a directory");
    for one in crates {
        let manifest = one["manifest_path"].as_str().expect("a path");
        let from = Path::new(manifest).parent().expect("a folder");
        let to = dir.join("vendor").join(from.file_name().expect("a name"));
        std::os::unix::fs::symlink(from, to).expect("a link");
    }
    let own = "packaging/debian/copyright";
    let line = format!(
        "cat $ROOT/{own} > all; python3 {} vendor/* >> all; cat all",
        script.display()
    );
    let text = says(&dir, &line);
    for crate_name in ["libc", "gimli", "addr2line", "memchr", "clap"] {
        let start = format!("\nFiles: vendor/{crate_name}-");
        assert!(text.contains(&start), "no {crate_name} in {text}");
    }
    let paragraphs: Vec<_> = text.split("\n\n").collect();
    let told: Vec<_> = paragraphs
        .iter()
        .filter_map(|p| p.strip_prefix("License: "))
        .filter_map(|p| p.lines().next())
        .collect();
    for files in paragraphs.iter().filter(|p| p.starts_with("Files: ")) {
        assert!(files.contains("\nCopyright: "), "{files}");
        let names = files.rsplit_once("\nLicense: ").expect(files).1;
        for name in names.trim().split(" or ").flat_map(|n| n.split(" and ")) {
            let name = name.trim_end_matches(',');
            assert!(told.contains(&name), "no text of {name} for {files}");
        }
    }
    let strange = "mkdir strange; echo '[package]\nlicense = \"Beerware\"' \
                   > strange/Cargo.toml; ! python3";
    says(&dir, &format!("{strange} {} strange", script.display()));
}
