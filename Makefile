# gmprt: build it, see it run, test it, install it. `make help` lists what
# there is. Everything made lands in $(BUILD), and cargo's part in target/.

CARGO  ?= cargo
CARGOFLAGS ?=
CC     ?= cc
CXX    ?= c++
BUILD  ?= build
PREFIX ?= /usr/local
LIBDIR ?= lib
# A relative one, such as lib64, is below the prefix.
override LIBDIR := $(if $(filter /%,$(LIBDIR)),,$(PREFIX)/)$(LIBDIR)
BINDIR ?= $(PREFIX)/bin
INCDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/gmprt
# Where a user of a package learns more: whoever publishes one names a page.
HOMEPAGE ?= file://$(DOCDIR)
CFLAGS   ?= -O2 -g
CXXFLAGS ?= -O2 -g

# What `make run` counts the words of: the licences of all Debian packages,
# but for the few that are lists of files; and where there are none, what this
# is made of. And how long `make stress` goes on.
DIR            ?= $$(find /usr/share/doc -name copyright -readable -size -400k \
    2>/dev/null | grep . || echo src asm include examples-c tests c-tests)
STRESS_SECONDS ?= 600

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME  := libgmprt.so.0
TARGET   = $(or $(CARGO_TARGET_DIR),target)
# cargo has a folder for a target that is named, be it this machine's.
MADE     = $(TARGET)/$(CARGO_BUILD_TARGET:%=%/)
RELEASE  = $(MADE)release
LIB      = $(BUILD)/lib
BIN      = $(BUILD)/bin
PRODUCTS = $(LIB)/libgmprt.so $(LIB)/libgmprt.a $(LIB)/libgmprt_rt0.a \
           $(LIB)/$(SONAME)-gdb.py
MAN      = $(BUILD)/man/made
# What the archive needs besides what every C link gets.
PRIVATE_LIBS = -lpthread -ldl

.DELETE_ON_ERROR:
.PHONY: all library help run examples test check tools loom stress faults \
        sanitize bench header docs lint install uninstall dist deb packages \
        reproduce chroot clean need FORCE

all: need $(PRODUCTS) $(BIN)/gmprt $(MAN) ## build the library and the command gmprt

library: need $(PRODUCTS) ## build the library alone, shared and static

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	    awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo "  variables: PREFIX DESTDIR DIR STRESS_SECONDS CC CXX BUILD SETUP=look"

# --- What must be there -----------------------------------------------------

# $(call for,GOALS,THINGS): these things, if one of the goals is to be made.
for    = $(if $(filter $(1),$(MAKECMDGOALS)),$(2))
NEEDS  = ar ld objcopy readelf stdio.h $(call for,bench,python3) \
         $(call for,docs,python3 markdown-it) \
         $(call for,deb reproduce chroot,dh dh_python3 lintian python3 Python.h \
         python3-markdown-it) $(call for,chroot,debootstrap)
GLASS  = g++ clang clang++ llvm-symbolizer valgrind libasan.so libtsan.so \
         liblsan.so libclang_rt.tsan-x86_64.a
TESTED = $(CXX) $(GLASS) abidw chromium cmake gdb git go java mandb markdown-it \
         meson musl-gcc ninja node python3 perfetto pkg-config curl wrk \
         taskset faketime redis-check-rdb gmp.h curl/curl.h gc/gc.h sqlite3.h Python.h \
         python3-dbg setuptools pytest mypy anyio ipython pyright
# What goes on without these leaves out what needs them, and says so.
WISHES = $(call for,tools test check stress,$(TESTED)) $(call for,examples,$(CXX)) \
         $(call for,sanitize,$(GLASS)) \
         $(call for,bench,$(CXX) boost/fiber/all.hpp gc/gc.h mimalloc.h)

# setup/need.sh knows how to tell that a thing is there, and how to get it.
need:
	@CC="$(CC)" CXX="$(CXX)" setup/need.sh "$(CARGO)" "$(CC)" $(NEEDS) -- \
	    $(sort $(WISHES))

# --- The library ------------------------------------------------------------

# cargo knows best whether there is anything to do. Without the rlib, which is
# for tests, whatever is not for C is known to have no callers elsewhere, and
# is reached without the GOT. The linker's path is relative: cargo hashes it into
# the names of symbols, and two folders make the same bytes.
$(RELEASE)/libgmprt.so $(RELEASE)/libgmprt.a &: FORCE | need
	$(CARGO) rustc $(CARGOFLAGS) --release --lib --crate-type cdylib,staticlib -- \
	    -C linker=packaging/versions.sh

$(LIB)/$(SONAME): $(RELEASE)/libgmprt.so
	@mkdir -p $(@D)
	install -m 755 $< $@

$(LIB)/libgmprt.so: $(LIB)/$(SONAME)
	ln -sf $(SONAME) $@

# The archive as cargo makes it has two faults for a C program. Its members
# share every internal name with the host: a program with a `check` or `args`
# of its own, or with a second Rust library, would not link. And a member
# that nothing references is left out, the one that starts the runtime too.
# So all that the exported names reach becomes one object, in which only they
# stay global; the others remain as local symbols, for gdb.
#
# --force-group-allocation dissolves the COMDAT groups: of two groups of one
# name the linker drops the later, and the symbols made local here could not
# be redirected to the other's. The second `ld -r` drops the undefined symbols
# that no one asks for any more: the first leaves them as locals, and objcopy
# would take these for demands. Rust's own objects carry bitcode; it goes.
# glibc's getaddrinfo does not work in static programs, and a demand for it
# would make every one of them larger, with a warning: it is a wish (os/net.rs).
#
# A program has no file beside it for gdb, so the archive carries the script, in
# a section that takes no memory: the byte 4 says that it is Python's text.
PUBLIC = gmp_* _cgo_* _rt0_*
ROOTS  = $$(readelf --dyn-syms -W $< | awk '{ sub(/@.*/, "", $$8) } \
           $$7 != "UND" && $$8 ~ /^(gmp_|_cgo_|_rt0_)/ { print "-u", $$8 }')

$(LIB)/libgmprt.a: $(LIB)/$(SONAME) $(RELEASE)/libgmprt.a gdb/gmprt-gdb.py
	ld -r --gc-sections --force-group-allocation $(ROOTS) \
	    -o $(LIB)/reached.o $(RELEASE)/libgmprt.a
	ld -r -o $(LIB)/gmprt.o $(LIB)/reached.o
	{ printf '\004gmprt-gdb.py\n'; cat gdb/gmprt-gdb.py; printf '\0'; } \
	    > $(LIB)/gdb_script
	objcopy -w $(PUBLIC:%=--keep-global-symbol='%') \
	    --add-section .debug_gdb_scripts=$(LIB)/gdb_script \
	    --weaken-symbol='_cgo_*' --weaken-symbol=getaddrinfo \
	    --weaken-symbol=freeaddrinfo --weaken-symbol=dladdr \
	    --weaken-symbol=dlclose -R .llvmbc -R .llvmcmd $(LIB)/gmprt.o
	rm -f $@
	ar rcsD $@ $(LIB)/gmprt.o
	rm $(LIB)/reached.o $(LIB)/gmprt.o $(LIB)/gdb_script

# The entry point of a program that is the runtime's from the first instruction
# on. It belongs into the program, also where the library is shared.
$(LIB)/libgmprt_rt0.a: asm/entry_amd64.S asm/macros.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -g -Iasm -o $(LIB)/entry_amd64.o $<
	rm -f $@
	ar rcsD $@ $(LIB)/entry_amd64.o
	rm $(LIB)/entry_amd64.o

# gdb loads this with the library beside which it lies.
$(LIB)/$(SONAME)-gdb.py: gdb/gmprt-gdb.py
	@mkdir -p $(@D)
	install -m 644 $< $@

# --- The command ------------------------------------------------------------

$(MADE)tool/gmprt: FORCE | need
	$(CARGO) build $(CARGOFLAGS) --profile tool -p gmprt-cli

$(BIN)/gmprt: $(MADE)tool/gmprt
	@mkdir -p $(@D)
	install -m 755 $< $@

header: need ## make include/gmp.h anew from src/ffi
	GMPRT_BLESS=1 $(CARGO) test --test header gmp_h_is_generated

# --- Documents --------------------------------------------------------------

# Of the header, the programs in docs/examples, and the pages in docs. Without
# Python there are no man pages, and the library is made all the same.
MADE_OF = include/gmp.h README.md $(wildcard docs/make/*.py docs/examples/*.c)

$(MAN): $(MADE_OF) $(BIN)/gmprt
	@mkdir -p $(@D)
	@if [ -n "$$(setup/need.sh --missing python3)" ]; \
	then echo "man pages are left out: there is no python3"; \
	else echo man pages; rm -rf $(@D)/man?; \
	    python3 docs/make/man.py include/gmp.h docs/examples $(VERSION) $(@D) && \
	    python3 docs/make/command.py $(BIN)/gmprt $(VERSION) $(@D); fi
	@touch $@

docs: need $(MAN) ## make the man pages, and the site in build/site
	$(BUILD)/venv/bin/python docs/make/site.py $(VERSION) $(BUILD)/site

# --- The examples -----------------------------------------------------------

EXAMPLES = hello sieve life pool ratelimit pipeline semaphore wordfreq collect \
           echo fetch prefork metrics
EXAMPLES_CPP = chat crawler gather primes sort strings
HTTPD    = $(wildcard examples-c/httpd*.c)
WARN     = -Wall -Wextra -Wpedantic -Werror
C        = $(CC) -std=gnu11 $(WARN) $(CFLAGS) -Iinclude
CPP      = $(CXX) -std=c++17 $(WARN) $(CXXFLAGS) -Iinclude
SHARED   = -L$(LIB) -lgmprt -Wl,-rpath,'$$ORIGIN/../lib' $(LDFLAGS)
STATIC   = $(LIB)/libgmprt.a $(PRIVATE_LIBS) $(LDFLAGS)
ENTRY    = -Wl,-e,_rt0_amd64_linux $(LIB)/libgmprt_rt0.a

PROGRAMS = $(EXAMPLES:%=$(BIN)/%) $(EXAMPLES:%=$(BIN)/%-static) \
           $(EXAMPLES_CPP:%=$(BIN)/%) $(EXAMPLES_CPP:%=$(BIN)/%-static) \
           $(BIN)/httpd $(BIN)/httpd-static \
           $(BIN)/host $(BIN)/host-static $(BIN)/entry $(BIN)/entry-static \
           $(BIN)/plugin_host $(BIN)/plugin.so

examples: need $(PROGRAMS) ## build the example programs

run: need $(BIN)/wordfreq $(BIN)/httpd $(BIN)/fetch ## count words (DIR=PATH: yours), serve files
	$(BIN)/wordfreq $(DIR)
	$(BIN)/fetch $(BIN)/httpd examples-c

$(EXAMPLES:%=$(BIN)/%): $(BIN)/%: examples-c/%.c include/gmp.h \
                        $(LIB)/libgmprt.so
	@mkdir -p $(@D)
	$(C) -o $@ $< $(SHARED)

$(EXAMPLES:%=$(BIN)/%-static): $(BIN)/%-static: examples-c/%.c include/gmp.h \
                               $(LIB)/libgmprt.a
	@mkdir -p $(@D)
	$(C) -o $@ $< $(STATIC)

$(BIN)/httpd: $(HTTPD) examples-c/httpd.h include/gmp.h $(LIB)/libgmprt.so
	@mkdir -p $(@D)
	$(C) -o $@ $(HTTPD) $(SHARED)

$(BIN)/httpd-static: $(HTTPD) examples-c/httpd.h include/gmp.h \
                     $(LIB)/libgmprt.a
	@mkdir -p $(@D)
	$(C) -o $@ $(HTTPD) $(STATIC)

# Where no C++ compiler is to be had, the other programs are made all the same.
CPP_IF_ANY = @if [ -n "$$(setup/need.sh --missing $(CXX))" ]; \
    then echo "$@ is left out: there is no $(CXX)"; \
    else echo $(CPP) -o $@ $< $(1); $(CPP) -o $@ $< $(1); fi

$(BIN)/host: examples-c/host.cc include/gmp.h $(PRODUCTS)
	@mkdir -p $(@D)
	$(call CPP_IF_ANY,$(SHARED))

$(BIN)/host-static: examples-c/host.cc include/gmp.h $(PRODUCTS)
	@mkdir -p $(@D)
	$(call CPP_IF_ANY,$(STATIC))

$(EXAMPLES_CPP:%=$(BIN)/%): $(BIN)/%: examples-cpp/%.cc include/gmp.h \
                            include/gmprt.hpp $(PRODUCTS)
	@mkdir -p $(@D)
	$(call CPP_IF_ANY,$(SHARED))

$(EXAMPLES_CPP:%=$(BIN)/%-static): $(BIN)/%-static: examples-cpp/%.cc \
                                   include/gmp.h include/gmprt.hpp $(PRODUCTS)
	@mkdir -p $(@D)
	$(call CPP_IF_ANY,$(STATIC))

# It has coroutines.
$(BIN)/primes $(BIN)/primes-static: CPP += -std=c++20

# The host knows nothing of gmprt: neither its header nor its library.
$(BIN)/plugin_host: examples-c/plugin_host.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) $(CFLAGS) -o $@ $< -ldl $(LDFLAGS)

$(BIN)/plugin.so: examples-c/plugin.c include/gmp.h $(PRODUCTS)
	@mkdir -p $(@D)
	$(C) -fPIC -shared -o $@ $< $(SHARED)

$(BIN)/entry: examples-c/entry.c include/gmp.h $(PRODUCTS)
	@mkdir -p $(@D)
	$(C) -o $@ $< $(ENTRY) $(SHARED)

$(BIN)/entry-static: examples-c/entry.c include/gmp.h $(PRODUCTS)
	@mkdir -p $(@D)
	$(C) -o $@ $< $(ENTRY) $(STATIC)

# --- Tests ------------------------------------------------------------------

test: need all examples ## run every test but the long ones; so does make check
	@setup/count.sh $(BUILD) "$(MAKE) --no-print-directory tests" \
	    "$(MAKE) --no-print-directory loom"

check: test

tools: need ## install what the tests use

# A part of what the tests do is waiting.
tests: export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc) + 2)))
.PHONY: tests
tests: # without the sums
	GMPRT_LIBDIR=$(abspath $(LIB)) $(CARGO) test --workspace --no-fail-fast

# Apart from the rest: the flags change every crate. What is built here is
# never shipped, so it does without the long link. Loom tries all orders of a
# few steps, shuttle some thousand of many: with the checks of debug builds,
# and with GMPRT_SEED=NUMBER the one that failed.
loom: export CARGO_PROFILE_RELEASE_LTO = off
loom: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
loom: need ## check what waits, and the lock-free code, in many orders
	RUSTFLAGS="--cfg loom" $(CARGO) test --release --test 'loom_*' \
	    --target-dir $(or $(CARGO_TARGET_DIR),target)/loom
	RUSTFLAGS="--cfg shuttle" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
	    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	    $(CARGO) test --release --test 'shuttle_*' \
	    --target-dir $(or $(CARGO_TARGET_DIR),target)/shuttle

# Each of the library's own has a process to itself, as it uses that up.
stress: need all ## each C test everywhere; everything for STRESS_SECONDS
	for test in $$($(CARGO) test --lib -- --ignored --list | \
	    sed -n 's/: test$$//p'); do \
	    $(CARGO) test --lib -- --ignored --exact $$test || exit 1; done
	GMPRT_LIBDIR=$(abspath $(LIB)) GMPRT_WHOLE=1 $(CARGO) test --test c_tests
	GMPRT_LIBDIR=$(abspath $(LIB)) GMPRT_STRESS=$(STRESS_SECONDS) \
	    $(CARGO) test --test c_tests --test shutdown --test examples \
	    --test company --test cpp --test python_package -- --ignored --nocapture --test-threads=1 stress

faults: need all ## refuse each system call in every way, and see
	GMPRT_LIBDIR=$(abspath $(LIB)) $(CARGO) test --test faults -- \
	    --include-ignored --nocapture --test-threads=1

# What each tool says, and what does not run under which: HACKING.md,
# "Sanitizers". Without a tool that is missing. SANITIZE=tsan_clang: of that
# tool only. SANITIZE_ONLY=NAME: that C test only.
sanitize: need all examples ## run the C tests and examples under sanitizers
	GMPRT_LIBDIR=$(abspath $(LIB)) GMPRT_SKIPS=$(abspath $(BUILD))/skips \
	    $(CARGO) test --test sanitize -- $(SANITIZE) --include-ignored \
	    --nocapture --test-threads=1

bench: need all ## measure it beside others, half an hour (BENCH=--quick)
	python3 bench/run.py $(BENCH)

lint: need ## check formatting and lints, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --lib --features internals

# --- Installing -------------------------------------------------------------

# gdb looks beside the library's real name, or for /usr in a folder of its own,
# from which it loads scripts without being told to.
GDBDIR = $(if $(filter /usr,$(PREFIX)),/usr/share/gdb/auto-load$(LIBDIR),$(LIBDIR))
SCRIPT = $(GDBDIR)/libgmprt.so.$(VERSION)-gdb.py

INSTALLED = $(INCDIR)/gmprt/gmp.h $(INCDIR)/gmprt/gmprt.hpp \
            $(LIBDIR)/libgmprt.so.$(VERSION) \
            $(LIBDIR)/$(SONAME) $(LIBDIR)/libgmprt.so \
            $(LIBDIR)/libgmprt.a $(LIBDIR)/libgmprt_rt0.a $(SCRIPT) \
            $(LIBDIR)/pkgconfig/gmprt.pc $(LIBDIR)/pkgconfig/gmprt-beside.pc \
            $(CMAKEDIR)/gmprt-config.cmake \
            $(CMAKEDIR)/gmprt-config-version.cmake $(BINDIR)/gmprt \
            $(PAGES:%=$(MANDIR)/%) $(TEXTS:%=$(DOCDIR)/%)
PAGES     = $(patsubst $(BUILD)/man/%,%,$(wildcard $(BUILD)/man/man?/*))
TEXTS     = $(sort README.md CHANGELOG.md SECURITY.md LICENSE-MIT \
            LICENSE-APACHE $(wildcard docs/*.md docs/*.json docs/*.png \
            docs/examples/*.c examples-c/*.[ch] examples-c/*.cc \
            examples-cpp/*))
CMAKEDIR  = $(LIBDIR)/cmake/gmprt
# pkg-config moves what is below the prefix with it, and CMake what is named
# from its own file on.
MOVES     = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
FILL_IN   = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|g' \
            -e 's|@LIBDIR@|$(call MOVES,$(LIBDIR))|' \
            -e 's|@INCDIR@|$(call MOVES,$(INCDIR))|' \
            -e 's|@PRIVATE_LIBS@|$(PRIVATE_LIBS)|' -e 's|@SONAME@|$(SONAME)|' \
            -e 's|@HOMEPAGE@|$(HOMEPAGE)|' -e "s|@TO_INCDIR@|$$(realpath -m \
            --relative-to='$(CMAKEDIR)' '$(INCDIR)')|"
# A root whose umask hides new files installs for all the same.
WRITE     = install -m 644 /dev/stdin

# Installs what has been built, so that root needs no cargo: without the
# command after `make library`.
install: ## install under PREFIX, for packagers below DESTDIR
	@test -e $(LIB)/libgmprt_rt0.a || $(MAKE) all
	install -d $(DESTDIR)$(INCDIR)/gmprt $(DESTDIR)$(LIBDIR)/pkgconfig \
	    $(DESTDIR)$(GDBDIR) $(DESTDIR)$(CMAKEDIR)
	install -m 644 $(LIB)/$(SONAME)-gdb.py $(DESTDIR)$(SCRIPT)
	install -m 644 include/gmp.h include/gmprt.hpp \
	    $(DESTDIR)$(INCDIR)/gmprt/
	install -m 755 $(LIB)/$(SONAME) $(DESTDIR)$(LIBDIR)/libgmprt.so.$(VERSION)
	ln -sf libgmprt.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libgmprt.so
	install -m 644 $(LIB)/libgmprt.a $(LIB)/libgmprt_rt0.a \
	    $(DESTDIR)$(LIBDIR)/
	$(FILL_IN) gmprt.pc.in \
	    | $(WRITE) $(DESTDIR)$(LIBDIR)/pkgconfig/gmprt.pc
	$(FILL_IN) gmprt-beside.pc.in \
	    | $(WRITE) $(DESTDIR)$(LIBDIR)/pkgconfig/gmprt-beside.pc
	$(FILL_IN) packaging/cmake/gmprt-config.cmake.in \
	    | $(WRITE) $(DESTDIR)$(CMAKEDIR)/gmprt-config.cmake
	$(FILL_IN) packaging/cmake/gmprt-config-version.cmake.in \
	    | $(WRITE) $(DESTDIR)$(CMAKEDIR)/gmprt-config-version.cmake
	test ! -d $(BUILD)/man/man7 || for part in man1 man3 man7; do \
	    install -d $(DESTDIR)$(MANDIR)/$$part && install -m 644 \
	    $(BUILD)/man/$$part/* $(DESTDIR)$(MANDIR)/$$part || exit 1; done
	@$(foreach d,$(sort $(dir $(TEXTS))),install -d $(DESTDIR)$(DOCDIR)/$(d) && \
	    install -m 644 $(foreach t,$(TEXTS),$(if $(filter $(d),$(dir $(t))),$(t))) \
	    $(DESTDIR)$(DOCDIR)/$(d) &&) echo documents
	test ! -e $(BIN)/gmprt || { install -d $(DESTDIR)$(BINDIR) && \
	    install -m 755 $(BIN)/gmprt $(DESTDIR)$(BINDIR)/; }

uninstall: ## take it away again
	rm -f $(INSTALLED:%=$(DESTDIR)%)
	rmdir $(DESTDIR)$(INCDIR)/gmprt $(DESTDIR)$(CMAKEDIR) 2>/dev/null || true
	test ! -d $(DESTDIR)$(DOCDIR) || \
	    find $(DESTDIR)$(DOCDIR) -depth -type d -empty -delete

# --- The tarball -------------------------------------------------------------

# What git has, under the version's name: the same bytes from the same commit.
# Beside it lies what Meson needs to take it as a subproject. With VENDOR=yes
# the crates are inside too, and it builds without a network.
DIST = gmprt-$(VERSION)
TIME = $$(git log -1 --format=%ct)

dist: need ## pack the source (VENDOR=yes: with the crates)
	@mkdir -p $(BUILD)
	rm -rf $(BUILD)/$(DIST)
	git archive --prefix=$(DIST)/ HEAD | tar -x -C $(BUILD)
	test -z "$(VENDOR)" || (cd $(BUILD)/$(DIST) && mkdir -p .cargo && \
	    python3 packaging/vendor.py $(CARGO) > .cargo/config.toml)
	tar -c --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
	    --mtime=@$(TIME) -C $(BUILD) $(DIST) | gzip -9n > $(BUILD)/$(DIST).tar.gz
	rm -rf $(BUILD)/$(DIST)
	set -- $$(sha256sum $(BUILD)/$(DIST).tar.gz) && \
	    $(FILL_IN) -e "s|@SHA256@|$$1|" packaging/meson/gmprt.wrap.in \
	    > $(BUILD)/gmprt.wrap

# The packages land in $(BUILD)/deb. The crates come along in the tarball. The
# address of .invalid is nobody's: a person who gives packages to others names
# their own.
DEB = $(BUILD)/deb
MAINTAINER ?= The gmprt developers <gmprt@gmprt.invalid>
deb reproduce: VENDOR = yes
deb: dist ## make packages for Debian, and look at them
	$(MAKE) packages
	lintian --fail-on error --allow-root $(DEB)/gmprt_*.changes

packages: # of the tarball
	rm -rf $(DEB)
	mkdir -p $(DEB)
	cp $(BUILD)/$(DIST).tar.gz $(DEB)/gmprt_$(VERSION).orig.tar.gz
	tar -xzf $(BUILD)/$(DIST).tar.gz -C $(DEB)
	cp -r $(DEB)/$(DIST)/packaging/debian $(DEB)/$(DIST)/debian
	cd $(DEB)/$(DIST) && python3 packaging/licences.py vendor/* \
	    >> debian/copyright
	sed -i 's/The gmprt developers <.*>/$(MAINTAINER)/' \
	    $(DEB)/$(DIST)/debian/control $(DEB)/$(DIST)/debian/changelog
	cd $(DEB)/$(DIST) && env -u MAKEFLAGS -u MAKELEVEL \
	    dpkg-buildpackage -us -uc -b $(DEBFLAGS)

# .buildinfo and .changes have the folder's name, and are no packages.
reproduce: dist ## make the packages in two folders, and compare their bytes
	$(MAKE) packages DEB=$(BUILD)/deb
	$(MAKE) packages DEB=$(BUILD)/deb-of-another-name
	cd $(BUILD)/deb && sha256sum *.deb | tee ../deb.sha256
	cd $(BUILD)/deb-of-another-name && sha256sum -c ../deb.sha256

# Root alone may make a system of its own. README's programs are built and run
# there with compilers, Python and the packages, and nothing else.
CHROOT = $(BUILD)/chroot
INSIDE = chroot $(CHROOT) sh -ec
chroot: need ## install the packages in a new Debian, and use them
	test -e $(DEB)/gmprt_*.changes || $(MAKE) deb
	rm -rf --one-file-system $(CHROOT)
	debootstrap --variant=minbase \
	    --include=g++,pkg-config,man-db,python3 bookworm $(CHROOT)
	cp $(DEB)/*.deb $(CHROOT)/root
	cp README.md packaging/debian/tests/readme $(CHROOT)/root
	$(INSIDE) 'apt-get install -y /root/*.deb'
	$(INSIDE) 'cd /root && AUTOPKGTEST_TMP=/root ./readme'
	$(INSIDE) 'apt-get purge -y "*gmprt*" && \
	    test -z "$$(find / -xdev -path /root -prune -o -path /proc -prune -o \
	    -name "*gmprt*" -not -path "/var/*" -print)"'

clean: ## remove everything made
	$(CARGO) clean
	rm -rf $(BUILD)
