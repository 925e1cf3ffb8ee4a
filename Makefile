# gmprt: build it, see it run, test it, install it. `make help` lists what
# there is. Everything made lands in $(BUILD), and cargo's part in target/.

CARGO  ?= cargo
CC     ?= cc
CXX    ?= c++
BUILD  ?= build
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BINDIR ?= $(PREFIX)/bin
INCDIR ?= $(PREFIX)/include
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
RELEASE  = $(TARGET)/release
LIB      = $(BUILD)/lib
BIN      = $(BUILD)/bin
PRODUCTS = $(LIB)/libgmprt.so $(LIB)/libgmprt.a $(LIB)/libgmprt_rt0.a \
           $(LIB)/$(SONAME)-gdb.py
# What the archive needs besides what every C link gets.
PRIVATE_LIBS = -lpthread -ldl

.DELETE_ON_ERROR:
.PHONY: all library help run examples test check loom stress faults sanitize \
        bench header lint install uninstall clean need FORCE

all: need $(PRODUCTS) $(BIN)/gmprt ## build the library and the command gmprt

library: need $(PRODUCTS) ## build the library alone, shared and static

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	    awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo "  variables: PREFIX DESTDIR DIR STRESS_SECONDS CC CXX BUILD SETUP=look"

# --- What must be there -----------------------------------------------------

# $(call for,GOALS,THINGS): these things, if one of the goals is to be made.
for    = $(if $(filter $(1),$(MAKECMDGOALS)),$(2))
NEEDS  = ar ld objcopy readelf stdio.h $(call for,bench,python3)
GLASS  = g++ clang clang++ llvm-symbolizer valgrind libasan.so libtsan.so \
         liblsan.so libclang_rt.tsan-x86_64.a
TESTED = $(CXX) $(GLASS) chromium gdb go java node musl-gcc python3 perfetto \
         pkg-config curl wrk taskset faketime redis-check-rdb gmp.h \
         curl/curl.h sqlite3.h Python.h python3-dbg setuptools pytest mypy
# What goes on without these leaves out what needs them, and says so.
WISHES = $(call for,test check stress,$(TESTED)) $(call for,examples,$(CXX)) \
         $(call for,sanitize,$(GLASS))

# setup/need.sh knows how to tell that a thing is there, and how to get it.
need:
	@CC="$(CC)" setup/need.sh "$(CARGO)" "$(CC)" $(NEEDS) -- $(sort $(WISHES))

# --- The library ------------------------------------------------------------

# cargo knows best whether there is anything to do. Without the rlib, which is
# for tests, whatever is not for C is known to have no callers elsewhere, and
# is reached without the GOT.
$(RELEASE)/libgmprt.so $(RELEASE)/libgmprt.a &: FORCE | need
	$(CARGO) rustc --release --lib --crate-type cdylib,staticlib

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
ROOTS  = $$(readelf --dyn-syms -W $< | awk '$$7 != "UND" && \
           $$8 ~ /^(gmp_|_cgo_|_rt0_)/ { print "-u", $$8 }')

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
	    --weaken-symbol=dlopen --weaken-symbol=dlclose -R .llvmbc -R .llvmcmd $(LIB)/gmprt.o
	rm -f $@
	ar rcsD $@ $(LIB)/gmprt.o
	rm $(LIB)/reached.o $(LIB)/gmprt.o $(LIB)/gdb_script

# The entry point of a program that is the runtime's from the first instruction
# on. It belongs into the program, also where the library is shared.
$(LIB)/libgmprt_rt0.a: asm/entry_amd64.S asm/macros.h
	@mkdir -p $(@D)
	$(CC) -c -g -Iasm -o $(LIB)/entry_amd64.o $<
	rm -f $@
	ar rcsD $@ $(LIB)/entry_amd64.o
	rm $(LIB)/entry_amd64.o

# gdb loads this with the library beside which it lies.
$(LIB)/$(SONAME)-gdb.py: gdb/gmprt-gdb.py
	@mkdir -p $(@D)
	install -m 644 $< $@

# --- The command ------------------------------------------------------------

$(TARGET)/tool/gmprt: FORCE | need
	$(CARGO) build --profile tool -p gmprt-cli

$(BIN)/gmprt: $(TARGET)/tool/gmprt
	@mkdir -p $(@D)
	install -m 755 $< $@

header: need ## make include/gmp.h anew from src/ffi
	GMPRT_BLESS=1 $(CARGO) test --test header gmp_h_is_generated

# --- The examples -----------------------------------------------------------

EXAMPLES = hello sieve life pool ratelimit pipeline semaphore wordfreq echo \
           fetch prefork metrics
EXAMPLES_CPP = chat crawler sort strings
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
	    --test company --test cpp -- --ignored --nocapture --test-threads=1 stress

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
            $(BINDIR)/gmprt
FILL_IN   = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
            -e 's|@INCDIR@|$(INCDIR)|' -e 's|@VERSION@|$(VERSION)|' \
            -e 's|@PRIVATE_LIBS@|$(PRIVATE_LIBS)|'

# Installs what has been built, so that root needs no cargo: without the
# command after `make library`.
install: ## install under PREFIX, for packagers below DESTDIR
	@test -e $(LIB)/libgmprt_rt0.a || $(MAKE) all
	install -d $(DESTDIR)$(INCDIR)/gmprt $(DESTDIR)$(LIBDIR)/pkgconfig \
	    $(DESTDIR)$(GDBDIR)
	install -m 644 $(LIB)/$(SONAME)-gdb.py $(DESTDIR)$(SCRIPT)
	install -m 644 include/gmp.h include/gmprt.hpp \
	    $(DESTDIR)$(INCDIR)/gmprt/
	install -m 755 $(LIB)/$(SONAME) $(DESTDIR)$(LIBDIR)/libgmprt.so.$(VERSION)
	ln -sf libgmprt.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libgmprt.so
	install -m 644 $(LIB)/libgmprt.a $(LIB)/libgmprt_rt0.a \
	    $(DESTDIR)$(LIBDIR)/
	$(FILL_IN) gmprt.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/gmprt.pc
	$(FILL_IN) gmprt-beside.pc.in \
	    > $(DESTDIR)$(LIBDIR)/pkgconfig/gmprt-beside.pc
	test ! -e $(BIN)/gmprt || { install -d $(DESTDIR)$(BINDIR) && \
	    install -m 755 $(BIN)/gmprt $(DESTDIR)$(BINDIR)/; }

uninstall: ## take it away again
	rm -f $(INSTALLED:%=$(DESTDIR)%)
	rmdir $(DESTDIR)$(INCDIR)/gmprt 2>/dev/null || true

clean: ## remove everything made
	$(CARGO) clean
	rm -rf $(BUILD)
