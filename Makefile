# SPDX-License-Identifier: Apache-2.0
# leadline: see `make help`. Quiet unless V=1. Everything made goes to $(BUILD).

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

# ARCH, as the kernel calls it: x86 or arm64. Another one than this machine's is cross-built, see below.
kernel_arch = $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(1)))
HOST_ARCH := $(call kernel_arch,$(shell uname -m))
override ARCH := $(call kernel_arch,$(or $(ARCH),$(HOST_ARCH)))
BUILD	?= $(if $(filter $(HOST_ARCH),$(ARCH)),build,build-$(ARCH))
ifneq ($(filter default undefined,$(origin CC)),)
CC	= $(CROSS_COMPILE)gcc $(SYSROOT:%=--sysroot=%)
endif
CLANG	?= clang
BPFTOOL	?= $(firstword $(wildcard /usr/sbin/bpftool /usr/bin/bpftool /usr/local/sbin/bpftool) bpftool)
PREFIX	?= /usr
DESTDIR	?=
V	?= 0
ifeq ($(V),0)
Q	:= @
say	= @printf '  %-8s %s\n' '$(1)' '$(2)'
else
Q	:=
say	= @:
endif

VERSION	:= $(shell cat .version 2>/dev/null || echo 0.1.0)
COMMIT	:= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)

# Probes with a kernel side, from the one list there is; task, entity, zoom, floor and trap are the core's own objects.
PROBES	:= $(shell sed -n 's/^PROBE(\(.*\))$$/\1/p' probes/probes.def)
BPF_NAMES := task entity zoom floor trap $(foreach p,$(PROBES),$(if $(wildcard bpf/$(p).bpf.c),$(p)))

LIBRARIES := libbpf zlib libmicrohttpd yaml-0.1 jansson libcurl libnghttp2 mount libpcre2-8
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wformat=2 -Wno-unused-parameter -Wno-missing-field-initializers
CFLAGS	?= -O2 -g
PKG_CONFIG ?= pkg-config
# Evaluated only once the packages are there.
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(LIBRARIES) 2>/dev/null)
PKG_LIBS = $(shell $(PKG_CONFIG) --libs $(LIBRARIES) 2>/dev/null) -lhttp_parser -pthread -lm
# Wire structures hold __u64 (unsigned long long), the user side reads uint64_t (unsigned long): as in the kernel, aliasing is not strict.
ALL_CFLAGS = -std=gnu11 -fno-strict-aliasing $(WARNINGS) $(WERROR) $(CFLAGS) $(SANITIZE) -I. -iquote bpf -iquote $(BUILD)/skel -I$(BUILD)/gen $(PKG_CFLAGS) -D_GNU_SOURCE -MMD -MP
BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter $(WERROR) -D__TARGET_ARCH_$(ARCH) -Ibpf -Ivmlinux -MMD -MP

BPF_OBJECTS := $(BPF_NAMES:%=$(BUILD)/bpf/%.bpf.o)
SKELETONS := $(BPF_NAMES:%=$(BUILD)/skel/%.skel.h)
SOURCES	:= $(filter-out agent/main.c,$(wildcard agent/*.c agent/cli/*.c exporters/*.c probes/*.c probes/protocols/*.c))
OBJECTS	:= $(SOURCES:%.c=$(BUILD)/obj/%.o)
LIBRARY	:= $(BUILD)/libleadline.a

.PHONY: all build help deps run test test-unit test-live test-peers test-faults test-vm bench check format asan tsan fuzz install clean FORCE
all: build
build: $(BUILD)/leadline

help:
	@sed -n 's/^## //p' Makefile

## make deps        install what the build needs and is missing (apt or dnf; root)
## make build       build/leadline
## sudo make run    deps, build, and run the agent in the foreground on 127.0.0.1:9797
## sudo make test   deps, build, and every test; make test-unit needs no root; TESTS="live/test_agent unit/test_tcp" for some
## sudo make test-vm  every hook on Debian's 6.1 and 6.12 kernels, in virtual machines
## sudo make test-vm-arm64  the same for arm64, under emulation: some 20 minutes a kernel; VM_KERNELS=6.12 for one
## sudo make bench  cost and speed beside the peers, as one table
## sudo make connections   REQUESTS (5000000) over CONNECTIONS (10000) at once: memory must stay
## sudo make soak   SOAK_MINUTES (30) of processes, groups and connections that come and go: memory must stay
## make check       formatting, stack of BPF programs, cppcheck, clang-tidy, warnings as errors under gcc, clang and for arm64
## make asan, tsan  the unit tests under the sanitizers
## make fuzz        every fuzz target for FUZZ_SECONDS (60) each
## make coverage    what the tests run of the agent, by folder; by line in build-coverage/html
## make install     binary, unit, config, man page under DESTDIR and PREFIX
## make clean       remove build/
## Each of deps, build, test-unit and install takes ARCH=arm64 and then cross-builds to build-arm64/.

# ---- packages -------------------------------------------------------------------------------
# test and bench packages on top of the build's
APT_BUILD := gcc make pkg-config clang llvm bpftool libbpf-dev zlib1g-dev libmicrohttpd-dev libyaml-dev libjansson-dev libcurl4-gnutls-dev libnghttp2-dev libmount-dev libpcre2-dev libhttp-parser-dev uthash-dev libc6-dev
APT_TEST := libcmocka-dev libbpf-tools e2fsprogs fio nginx-light wrk curl iptables iproute2 util-linux prometheus prometheus-node-exporter python3 python3-prometheus-client apache2-utils procps runc openssl \
	redis-server redis-tools postgresql mariadb-server nghttp2-client nghttp2-proxy python3-grpcio python3-websockets sysbench dnsmasq-base bind9-dnsutils haproxy liburing-dev wget nodejs
APT_BENCH := bpftrace
APT_VM := qemu-system-x86 busybox-static cpio kmod xz-utils
APT_CROSS := gcc-aarch64-linux-gnu qemu-user
APT_CHECK := clang-format clang-tidy cppcheck gcovr libclang-rt-14-dev shellcheck
DNF_BUILD := gcc make pkgconf-pkg-config clang llvm bpftool libbpf-devel zlib-devel libmicrohttpd-devel libyaml-devel jansson-devel libcurl-devel libnghttp2-devel libmount-devel pcre2-devel http-parser-devel uthash-devel
DNF_TEST := libcmocka-devel e2fsprogs fio nginx wrk curl iptables iproute util-linux python3 httpd-tools procps-ng runc openssl liburing-devel

# $(call install_packages,apt list,dnf list): only what is missing; services that come along are not started
install_packages = @sh deploy/install-packages.sh --apt $(1) --dnf $(2)

deps:
	$(call install_packages,$(APT_BUILD) $(if $(SYSROOT),$(APT_CROSS)),$(DNF_BUILD))
	@pkg-config --atleast-version=1.0 libbpf || { echo "leadline needs libbpf 1.0 or later; found: $$(pkg-config --modversion libbpf 2>/dev/null || echo none)" >&2; exit 1; }
deps-test: deps
	$(call install_packages,$(APT_TEST),$(DNF_TEST))
deps-bench: deps-test
	$(call install_packages,$(APT_BENCH),)
deps-vm: deps-test
	$(call install_packages,$(if $(SYSROOT),$(APT_VM:%-x86=%-arm),$(APT_VM)),)
deps-check: deps-test
	$(call install_packages,$(APT_CHECK) $(APT_CROSS),clang-tools-extra cppcheck gcovr ShellCheck)
.PHONY: deps-test deps-bench deps-vm deps-check

# ---- for another architecture ------------------------------------------------------------------
# Headers and libraries are those of Debian's packages for it, unpacked below SYSROOT. What was built runs here in
# qemu's user mode: unit tests, and the program when it writes its manual page.
ifneq ($(ARCH),$(HOST_ARCH))
ifneq ($(ARCH),arm64)
$(error ARCH=$(ARCH): on $(HOST_ARCH), leadline can be cross-built for arm64 only)
endif
CROSS_COMPILE ?= aarch64-linux-gnu-
SYSROOT	:= $(abspath build-$(ARCH)/sysroot)
PKG_CONFIG := PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/aarch64-linux-gnu/pkgconfig pkg-config
EMULATOR := qemu-aarch64 -L $(SYSROOT)
sysroot:
	$(Q)sh deploy/sysroot.sh arm64 $(SYSROOT) $(filter %-dev,$(APT_BUILD) $(APT_TEST))
.PHONY: sysroot
else
SYSROOT	:=
endif
SYSROOT_READY := $(if $(SYSROOT),sysroot)

# ---- kernel side ------------------------------------------------------------------------------
$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/skel/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

# ---- user side --------------------------------------------------------------------------------
# Initialisers [number] = "name", from the kernel headers the compiler finds.
SYSCALL_NAMES := $(BUILD)/gen/syscall_names_generated.h
$(SYSCALL_NAMES): Makefile | $(SYSROOT_READY)
	$(call say,GEN,$@)
	@mkdir -p $(@D)
	$(Q)echo '#include <asm/unistd.h>' | $(CC) -E -dM - | LC_ALL=C sort | sed -nE \
		-e '/__NR_(syscalls|arch_specific_syscall) /d' \
		-e 's/^#define (__NR_([a-z0-9_]+)) .*/[\1] = "\2",/p' > $@
	$(Q)grep -q '"read"' $@ || { echo "$@: no system calls in <asm/unistd.h>; is linux-libc-dev installed?" >&2; exit 1; }

$(BUILD)/obj/%.o: %.c Makefile | $(SKELETONS) $(SYSCALL_NAMES) $(SYSROOT_READY)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

# The version is in one object, rebuilt when the commit changes.
$(BUILD)/obj/agent/version.o: override CFLAGS += -DLEADLINE_VERSION='"$(VERSION)"' -DLEADLINE_COMMIT='"$(COMMIT)"'
$(BUILD)/obj/agent/version.o: $(BUILD)/commit
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(COMMIT)' | cmp -s - $@ || echo '$(VERSION) $(COMMIT)' > $@

$(LIBRARY): $(OBJECTS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(CROSS_COMPILE)ar rcs $@ $^

$(BUILD)/leadline: $(BUILD)/obj/agent/main.o $(LIBRARY)
	$(call say,LINK,$@)
	$(Q)$(CC) $(SANITIZE) -o $@ $(BUILD)/obj/agent/main.o $(LIBRARY) $(PKG_LIBS)

-include $(wildcard $(BUILD)/bpf/*.d $(BUILD)/obj/*/*.d $(BUILD)/obj/*/*/*.d $(BUILD)/tests/*.d)

# A second make sees the packages that deps has just installed.
run: deps
	$(Q)$(MAKE) --no-print-directory build
	$(BUILD)/leadline agent

include tests/tests.mk

# Its tables come from the descriptors in the binary.
$(BUILD)/leadline.8: deploy/man/leadline.8.in $(BUILD)/leadline
	$(call say,MAN,$@)
	$(Q)$(EMULATOR) $(BUILD)/leadline man $< > $@

install: build $(BUILD)/leadline.8
	install -D -m 0755 $(BUILD)/leadline $(DESTDIR)$(PREFIX)/sbin/leadline
	install -D -m 0644 deploy/systemd/leadline.service $(DESTDIR)/lib/systemd/system/leadline.service
	install -D -m 0644 deploy/leadline.yaml $(DESTDIR)/etc/leadline/leadline.yaml
	install -D -m 0644 $(BUILD)/leadline.8 $(DESTDIR)$(PREFIX)/share/man/man8/leadline.8

clean:
	rm -rf $(BUILD) build-*
