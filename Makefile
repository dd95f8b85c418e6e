# What people and CI type; README.md explains it.

# A static, non-PIE binary: it runs on every distribution, and a shim of it costs 0.13 MB instead of 0.5.
export RUSTFLAGS := -C target-feature=+crt-static -C relocation-model=static
export CARGO_BUILD_TARGET := $(shell uname -m)-unknown-linux-gnu
export LIBSECCOMP_LINK_TYPE := static
export LIBSECCOMP_LIB_PATH := /usr/lib/$(shell uname -m)-linux-gnu
export CLIPPY_CONF_DIR := $(CURDIR)/scripts/lint

PREFIX ?= /usr/local
BINARY := target/$(CARGO_BUILD_TARGET)/release/kubik
# Where shells look below share/.
COMPLETIONS := bash-completion/completions/kubik zsh/site-functions/_kubik fish/vendor_completions.d/kubik.fish
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

.PHONY: help build check test vm bench demo demo-clean install uninstall dist

help:
	@echo "make demo     build, start a cluster, deploy an application and reach it"
	@echo "make build    the release binary: $(BINARY)"
	@echo "make check    format, lints, unit and architecture tests"
	@echo "make test     every test, with real containers and stock kubectl (needs root)"
	@echo "make vm       the kernel tests and a cluster under cgroup v2 and an older kernel, in qemu (needs root; 15 minutes)"
	@echo "make bench    the budgets, measured (needs root)"
	@echo "make install  to PREFIX ($(PREFIX)), with completion for shells; make uninstall removes it"
	@echo "make dist     an archive with the binary and the documents"

build:
	@scripts/setup.sh build
	cargo build --release --locked

check:
	@scripts/setup.sh build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --test architecture

test:
	@scripts/setup.sh test
	cargo test --locked --no-fail-fast

# Not part of CI: a guest without hardware support takes far longer than two minutes.
vm:
	@scripts/setup.sh vm
	cargo build --locked
	scripts/vm.sh $(VM)

bench:
	@scripts/setup.sh test
	cargo bench --locked --bench budgets -- $(BENCH)

demo: build
	@KUBIK=$(BINARY) scripts/demo.sh

demo-clean:
	@KUBIK=$(BINARY) scripts/demo.sh clean

# `make build && sudo make install`: root may have no Rust, and needs none.
install:
	@if command -v cargo >/dev/null || [ ! -x $(BINARY) ]; then $(MAKE) --no-print-directory build; fi
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/kubik
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,$(dir $(COMPLETIONS)))
	$(BINARY) completion bash >$(DESTDIR)$(PREFIX)/share/$(word 1,$(COMPLETIONS))
	$(BINARY) completion zsh >$(DESTDIR)$(PREFIX)/share/$(word 2,$(COMPLETIONS))
	$(BINARY) completion fish >$(DESTDIR)$(PREFIX)/share/$(word 3,$(COMPLETIONS))

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/kubik $(addprefix $(DESTDIR)$(PREFIX)/share/,$(COMPLETIONS))

# The same files make the same archive, whoever packs it and when.
ARCHIVE := kubik-$(VERSION)-linux-$(shell uname -m).tar.gz
dist: build
	rm -rf dist/kubik-$(VERSION)
	install -D -m 755 $(BINARY) dist/kubik-$(VERSION)/kubik
	install -D -m 644 -t dist/kubik-$(VERSION)/assets assets/dashboard.png assets/demo.yaml
	install -m 644 -t dist/kubik-$(VERSION) README.md LICENSE CHANGELOG.md
	tar -C dist --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - kubik-$(VERSION) | gzip -n >dist/$(ARCHIVE)
	rm -r dist/kubik-$(VERSION)
	cd dist && sha256sum $(ARCHIVE) >$(ARCHIVE).sha256
