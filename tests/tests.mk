# SPDX-License-Identifier: Apache-2.0
# Tests: every tests/unit/test_*.c, tests/live/test_*.c, tests/peers/test_*.c and tests/faults under live/ is one
# cmocka program, linked with the agent's library (without main) and tests/harness/*.c.

HARNESS	:= $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/harness/*.c))
UNIT	:= $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
LIVE	:= $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/live/test_*.c))
PEERS	:= $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/peers/test_*.c))

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(HARNESS) $(LIBRARY)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SANITIZE) $(WRAP) -o $@ $(BUILD)/obj/tests/$*.o $(HARNESS) $(LIBRARY) $(PKG_LIBS) -lcmocka $(MORE_LIBRARIES)

$(BUILD)/tests/live/test_requests_uring: MORE_LIBRARIES := -luring

# Programs with a kernel side of their own.
$(BUILD)/tests/%.bpf.o: tests/%.bpf.c Makefile
	$(call say,BPF,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@
$(BUILD)/tests/%.skel.h: $(BUILD)/tests/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F)_bpf > $@
$(BUILD)/obj/tests/live/test_event_rings.o: $(BUILD)/tests/live/event_rings.skel.h
$(BUILD)/obj/tests/live/test_event_rings.o: override CFLAGS += -iquote $(BUILD)/tests/live

# In these programs allocations fail on command: tests/harness/out_of_memory.c.
OUT_OF_MEMORY_TESTS := unit/test_out_of_memory unit/test_protocol_no_memory live/test_no_memory
WRAPPED	:= malloc calloc realloc reallocarray strdup strndup asprintf vasprintf fopen fmemopen open_memstream fdopendir opendir \
	mnt_new_table mnt_new_iter
$(OUT_OF_MEMORY_TESTS:%=$(BUILD)/tests/%): WRAP := $(WRAPPED:%=-Wl,--wrap=%)

.SECONDARY:

# Runs the programs given one after the other and closes with "N passed, N failed, N skipped"; leaves the names of those that failed.
RUN_TESTS = $(RUN_UNDER) env FAILED=$(BUILD)/failed $(if $(EMULATOR),EMULATOR="$(EMULATOR)") sh tests/harness/run.sh

# qemu's user mode knows no openat2, and all its processes have its own name.
NEED_A_KERNEL := $(if $(EMULATOR),%/test_entity_names %/test_runtimes %/test_zoom)

test-unit-programs: $(UNIT)
test-programs: $(BUILD)/leadline $(UNIT) $(LIVE) $(PEERS)
.PHONY: test-unit-programs test-programs

test-unit: check-stack
	$(Q)$(MAKE) --no-print-directory test-unit-programs
	$(Q)$(RUN_TESTS) $(filter-out $(NEED_A_KERNEL),$(UNIT))
test-live:
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)$(RUN_TESTS) $(LIVE)
test-peers:
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)$(RUN_TESTS) $(PEERS)
# some of them: make test TESTS="live/test_agent unit/test_tcp"
TESTS ?=
test: deps-test
	$(Q)$(MAKE) --no-print-directory test-programs
	$(Q)$(RUN_TESTS) $(if $(TESTS),$(TESTS:%=$(BUILD)/tests/%),$(UNIT) $(LIVE) $(PEERS))

# ---- the kernel matrix: make test-vm [VM_KERNELS=6.1] [VM_TESTS=requests,tcp,missing] ------------------
# Each kernel boots in a virtual machine that runs the live tests of every probe with every hook, see tests/vm/.
VM_KERNELS ?= 6.1 6.12
VM_TESTS ?=
VM_PROGRAMS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/vm/*.c))

# For arm64, the programs that tests call are unpacked from its packages.
ifdef SYSROOT
VM_ROOT	:= $(abspath $(BUILD)/vm/root)
VM_PACKAGES := $(filter %-dev,$(APT_BUILD)) $(filter-out prometheus% %-prometheus-client apache2-utils,$(APT_TEST)) bash busybox-static \
	coreutils dash diffutils findutils grep hostname libc-bin mawk mount sed
VM_MACHINE := QEMU=qemu-system-aarch64 CONSOLE=ttyAMA0 FLAVOUR=cloud-arm64 ROOT=$(VM_ROOT) \
	QEMU_FLAGS='-M virt -cpu neoverse-n1 -accel tcg,thread=multi'
vm-root:
	$(Q)sh deploy/sysroot.sh arm64 $(VM_ROOT) $(VM_PACKAGES)
.PHONY: vm-root
endif

test-vm-arm64:
	$(Q)$(MAKE) --no-print-directory ARCH=arm64 test-vm
.PHONY: test-vm test-vm-arm64

test-vm: EMULATOR := # what the machine said is told here
test-vm: deps-vm $(if $(VM_ROOT),vm-root)
	$(Q)$(MAKE) --no-print-directory test-programs $(VM_PROGRAMS)
	$(Q)sh tests/vm/programs.sh $(BUILD) $(BUILD)/vm/programs $(VM_ROOT)
	$(Q)for kernel in $(VM_KERNELS); do \
		echo "  BOOT     Linux $$kernel"; $(VM_MACHINE) bash tests/vm/boot.sh $$kernel $(BUILD) $(VM_TESTS) & \
	done; wait
	$(Q)sh tests/vm/table.sh $(VM_KERNELS:%=$(BUILD)/vm/%)
	$(Q)$(RUN_TESTS) $$(ls $(VM_KERNELS:%=$(BUILD)/vm/%/*.tap) | sed 's/\.tap$$//')

# ---- benchmarks: make bench [ROW=syscall] [BENCH_FLAGS=--quick] ----------------------------------
$(BUILD)/tests/bench/%: tests/bench/%.c Makefile
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -O2 $(BENCH_FLAGS_OF_$*) $< -o $@ $(BENCH_LIBRARIES_OF_$*)

# Those with a kernel side: the agent's own, or one beside it.
$(BUILD)/tests/bench/floor: $(BUILD)/skel/floor.skel.h
$(BUILD)/tests/bench/reading: $(BUILD)/tests/bench/reading.skel.h
BENCH_FLAGS_OF_floor := -iquote $(BUILD)/skel
BENCH_FLAGS_OF_reading := -iquote $(BUILD)/tests/bench
BENCH_LIBRARIES_OF_floor := -lbpf
BENCH_LIBRARIES_OF_reading := -lbpf

BENCH_PROGRAMS := load crowd storm floor reading
bench: deps-bench
	$(Q)$(MAKE) --no-print-directory $(BUILD)/leadline $(BENCH_PROGRAMS:%=$(BUILD)/tests/bench/%)
	$(Q)PYTHONDONTWRITEBYTECODE=1 python3 tests/bench/bench.py --build $(BUILD) $(addprefix --row ,$(ROW)) $(BENCH_FLAGS)

# ---- make soak [SOAK_MINUTES=30]: processes, control groups and connections come and go, memory stays ----
SOAK_MINUTES ?= 30
soak: deps-test
	$(Q)$(MAKE) --no-print-directory $(BUILD)/leadline
	$(Q)PYTHONDONTWRITEBYTECODE=1 python3 tests/bench/soak.py --build $(BUILD) --minutes $(SOAK_MINUTES)
.PHONY: soak

# ---- make connections [REQUESTS=5000000 CONNECTIONS=10000]: so many requests over so many at once, memory stays ----
REQUESTS ?= 5000000
CONNECTIONS ?= 10000
connections: deps-test
	$(Q)$(MAKE) --no-print-directory $(BUILD)/leadline
	$(Q)PYTHONDONTWRITEBYTECODE=1 python3 tests/bench/connections.py --build $(BUILD) --requests $(REQUESTS) --connections $(CONNECTIONS)
.PHONY: connections

# ---- make check: formatting, linters, warnings as errors under both compilers and for arm64 ----------------
C_FILES := $(wildcard agent/*.[ch] agent/cli/*.[ch] bpf/*.[ch] bpf/lib/*.h exporters/*.[ch] probes/*.[ch] probes/protocols/*.[ch] tests/*/*.[ch])
SHELL_FILES := $(wildcard deploy/*.sh tests/*/*.sh .ci/run)

check: deps-check
	$(Q)$(MAKE) --no-print-directory check-format check-shell check-stack check-cppcheck check-build check-cross check-lint
check-format:
	$(call say,FORMAT,$(words $(C_FILES)) files)
	$(Q)clang-format --dry-run -Werror $(C_FILES)
format:
	$(Q)clang-format -i $(C_FILES)
check-shell:
	$(call say,SHELL,$(SHELL_FILES))
	$(Q)shellcheck $(SHELL_FILES)
# What takes more stack than kernels before 6.10 allow is refused there.
check-stack: $(BPF_OBJECTS)
	$(call say,STACK,$(words $(BPF_OBJECTS)) objects)
	$(Q)python3 tests/vm/stack.py $(BPF_OBJECTS)
check-build:
	$(Q)$(MAKE) --no-print-directory BUILD=build-check-gcc CC=gcc WERROR=-Werror test-programs
	$(Q)$(MAKE) --no-print-directory BUILD=build-check-clang CC=clang WERROR=-Werror test-programs
check-cross:
	$(Q)if command -v apt-get >/dev/null; then \
		$(MAKE) --no-print-directory ARCH=arm64 BUILD=build-check-arm64 WERROR=-Werror test-programs && \
		$(MAKE) --no-print-directory ARCH=arm64 BUILD=build-check-arm64 WERROR=-Werror test-unit; \
	else \
		echo 'not cross-built: the libraries for arm64 come from Debian packages'; \
	fi
# What is looked for: .clang-tidy. Findings in generated skeletons are not ours.
LINT_FILES = $(filter-out agent/version.c,$(SOURCES)) agent/main.c
check-lint: $(SKELETONS) $(SYSCALL_NAMES)
	$(call say,LINT,$(words $(LINT_FILES)) files)
	$(Q)printf '%s\n' $(LINT_FILES) | xargs -n 4 -P $$(nproc) sh -c \
		'clang-tidy --quiet "$$@" -- $(filter-out -MMD -MP,$(ALL_CFLAGS)) 2>/dev/null || true' sh >$(BUILD)/lint.txt
	$(Q)! grep -A 4 -E '/(agent|exporters|probes)/[^ ]+: error:' $(BUILD)/lint.txt
# What it need not say: variableScope, as variables are declared at the head of a function here; unusedStructMember, as
# it does not see members that are used through a macro or an initialiser; readdirCalled, as readdir_r() is deprecated.
check-cppcheck:
	$(call say,CPPCHECK,$(words $(LINT_FILES)) files)
	$(Q)cppcheck -q -j $$(nproc) --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,style,performance,portability \
		--library=posix --library=gnu --library=.cppcheck.cfg --suppress=variableScope --suppress=unusedStructMember --suppress=readdirCalled \
		-D_GNU_SOURCE -D__x86_64__ -I. $(LINT_FILES)
.PHONY: check-format check-shell check-stack check-cppcheck check-build check-cross check-lint

# ---- sanitizers ----------------------------------------------------------------------------------
asan: deps-test
	$(Q)$(MAKE) --no-print-directory BUILD=build-asan CFLAGS='-O1 -g -fno-omit-frame-pointer' \
		SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' test-unit
# Without address randomisation: this libtsan knows only part of the address space.
tsan: deps-test
	$(Q)$(MAKE) --no-print-directory BUILD=build-tsan CFLAGS='-O1 -g' SANITIZE=-fsanitize=thread \
		RUN_UNDER='setarch -R' test-unit

# ---- coverage ------------------------------------------------------------------------------------
# What the unit tests run of the agent, and as root the live tests, too, unless COVERAGE_LIVE=no: a line a folder, and
# build-coverage/html/index.html with every line. Not of programs in the kernel. A failing test does not hide the report.
COVERAGE_LIVE ?= $(if $(filter 0,$(shell id -u)),yes,no)
coverage: deps-check
	$(Q)$(MAKE) --no-print-directory BUILD=build-coverage CFLAGS='-O0 -g --coverage -fprofile-update=atomic' SANITIZE=--coverage \
		coverage-report
coverage-report: $(BUILD)/leadline $(UNIT) $(if $(filter yes,$(COVERAGE_LIVE)),$(LIVE))
	$(Q)find $(BUILD)/obj -name '*.gcda' -delete
	$(Q)status=0; $(RUN_TESTS) $(UNIT) $(if $(filter yes,$(COVERAGE_LIVE)),$(LIVE)) || status=1; \
		sh tests/harness/coverage.sh $(BUILD) && exit $$status
.PHONY: coverage coverage-report

# ---- fuzzing -------------------------------------------------------------------------------------
# Every tests/fuzz/fuzz_NAME.c is a libFuzzer target over the library; the files in tests/fuzz/NAME are what it
# starts from. What it finds on the way stays in build-fuzz/corpus.
FUZZ	:= $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60
$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(LIBRARY)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SANITIZE) -fsanitize=fuzzer -o $@ $< $(LIBRARY) $(PKG_LIBS)
fuzz-programs: $(FUZZ:%=$(BUILD)/tests/fuzz/%)
	$(Q)sh tests/fuzz/run.sh $(BUILD) $(FUZZ_SECONDS) $(FUZZ)
fuzz: deps-check
	$(Q)$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang CFLAGS='-O1 -g' \
		SANITIZE='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all' fuzz-programs
.PHONY: fuzz-programs
