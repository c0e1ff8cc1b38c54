// SPDX-License-Identifier: Apache-2.0
/* How TLS libraries are found: tables of the kernel's, files of known and of broken content. No root. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "probes/tls_choice.h"
#include "probes/tls_libraries.h"
#include "probes/tls_mappings.h"
#include "probes/tls_symbols.h"
#include "tests/harness/harness.h"

/* This program has two of the calls in itself. */
__attribute__((noinline, used)) int SSL_read(void *session, void *buffer, int size);
int SSL_read(void *session, void *buffer, int size)
{
	return (session != buffer) * size + 17;
}

__attribute__((noinline, used)) int SSL_write(void *session, const void *buffer, int size);
int SSL_write(void *session, const void *buffer, int size)
{
	return (session != buffer) * size + 19;
}

/* ---- tables of the kernel's ---- */

static void mappings_are_read(void **state)
{
	static const char library[] =
		"7f6b4e4a3000-7f6b4e4ff000 r-xp 0001f000 fe:01 1234567                    /usr/lib/a b/libssl.so.3";
	static const char *const others[] = {
		"",
		"7f6b4e4a3000",
		"7f6b4e4a3000-7f6b4e4ff000 r-xp",
		"7f6b4e4a3000-7f6b4e4ff000 r-xp 0001f000 fe:01",
		"7ffd1d5f3000-7ffd1d614000 rw-p 00000000 00:00 0                          [stack]",
		"7f6b4e4a3000-7f6b4e4ff000 rw-p 00000000 00:00 0 ",
		"7f6b4e4a3000-7f6b4e4ff000 r-xp 0001f000 fe:01 12 anon_inode:x",
		"zz-7f6b4e4ff000 r-xp 0001f000 fe:01 1234567 /x",
		"77777777777777777777777777777777-1 r-xp 0 fe:01 1234567 /x",
	};
	struct tls_mapping mapping;

	assert_true(tls_mapping_parse(library, strlen(library), &mapping));
	assert_true(mapping.is_executable);
	assert_int_equal(mapping.file.device, makedev(0xfe, 1));
	assert_int_equal(mapping.file.inode, 1234567);
	assert_true(mapping.start == 0x7f6b4e4a3000 && mapping.end == 0x7f6b4e4ff000);
	assert_int_equal(mapping.path_length, strlen("/usr/lib/a b/libssl.so.3"));
	assert_memory_equal(mapping.path, "/usr/lib/a b/libssl.so.3", mapping.path_length);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(tls_mapping_parse(others[i], strlen(others[i]), &mapping));
	for (size_t length = 0; length < strlen(library) - 25; length++) {
		char *cut = strndup(library, length); /* so that reading on would be seen */

		assert_false(tls_mapping_parse(cut, length, &mapping));
		free(cut);
	}
	(void)state;
}

static void libraries_are_known_by_name(void **state)
{
	static const char *const libraries[] = {
		"/usr/lib/libssl.so.3",
		"/usr/lib/libssl.so.1.1 (deleted)",
		"/x/libssl-1d6df745.so.1.1.1",
		"libgnutls.so.30.34.3",
	};
	static const char *const others[] = {
		"/usr/lib/libssl3.so", "/libssl.so.3/x", "/libcrypto.so.3", "", "/", "/libssl"
	};

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		assert_true(tls_library_is_named(libraries[i], strlen(libraries[i])));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(tls_library_is_named(others[i], strlen(others[i])));
	(void)state;
}

static void filesystems_are_found(void **state)
{
	static const char table[] =
		"21 26 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
		"malformed\n"
		"26 1 254:1 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw\n"
		"99 26 0:51 / /home/user/a\\040b rw - fuse.sshfs host: rw\n"
		"100 26 0:52 / /cut rw shared:3";
	char type[TLS_FILESYSTEM_TYPE];

	assert_true(tls_filesystem_find(table, strlen(table), makedev(254, 1), type));
	assert_string_equal(type, "ext4");
	assert_false(tls_filesystem_may_stall(type));
	assert_true(tls_filesystem_find(table, strlen(table), makedev(0, 51), type));
	assert_string_equal(type, "fuse.sshfs");
	assert_true(tls_filesystem_may_stall(type));
	assert_true(tls_filesystem_may_stall("nfs4"));
	assert_false(tls_filesystem_may_stall("overlay"));
	assert_false(tls_filesystem_find(table, strlen(table), makedev(0, 52), type));
	assert_false(tls_filesystem_find(table, strlen(table), makedev(0, 53), type));
	(void)state;
}

/* ---- symbols ---- */

static int number_of(const char *symbol)
{
	for (int i = 0; i < TLS_FUNCTIONS; i++)
		if (!strcmp(tls_functions[i].symbol, symbol))
			return i;
	fail();
	return 0;
}

/* At its offset the file has what the function begins with. */
static void expect_code(int fd, uint64_t offset, const void *function)
{
	char code[16];

	assert_true(offset > 0);
	assert_int_equal(pread(fd, code, sizeof(code), (off_t)offset), sizeof(code));
	assert_memory_equal(code, function, sizeof(code));
}

static void functions_of_a_program_are_found(void **state)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t offsets[TLS_FUNCTIONS];

	assert_int_equal(tls_symbols_find(fd, offsets), 2);
	expect_code(fd, offsets[number_of("SSL_read")], (const void *)SSL_read);
	expect_code(fd, offsets[number_of("SSL_write")], (const void *)SSL_write);
	close(fd);
	(void)state;
}

/* The smallest file there can be: a segment, a table of symbols with two of the calls, their names. */
struct small {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Shdr sections[3];
	Elf64_Sym symbols[4];
	char names[64];
};

static void make_small(struct small *file)
{
	static const char names[] = "\0SSL_read\0gnutls_record_send\0SSL_write";

	memset(file, 0, sizeof(*file));
	memcpy(file->header.e_ident, ELFMAG, SELFMAG);
	file->header.e_ident[EI_CLASS] = ELFCLASS64;
	file->header.e_ident[EI_DATA] = ELFDATA2LSB;
	file->header.e_ident[EI_VERSION] = EV_CURRENT;
	file->header.e_type = ET_DYN;
#if defined(__x86_64__)
	file->header.e_machine = EM_X86_64;
#else
	file->header.e_machine = EM_AARCH64;
#endif
	file->header.e_version = EV_CURRENT;
	file->header.e_ehsize = sizeof(file->header);
	file->header.e_phoff = offsetof(struct small, segment);
	file->header.e_phentsize = sizeof(file->segment);
	file->header.e_phnum = 1;
	file->header.e_shoff = offsetof(struct small, sections);
	file->header.e_shentsize = sizeof(file->sections[0]);
	file->header.e_shnum = 3;
	file->segment = (Elf64_Phdr){ .p_type = PT_LOAD,
				      .p_flags = PF_R | PF_X,
				      .p_vaddr = 0x10000,
				      .p_offset = 64,
				      .p_filesz = 0x400,
				      .p_memsz = 0x400 };
	file->sections[1] = (Elf64_Shdr){ .sh_type = SHT_DYNSYM,
					  .sh_offset = offsetof(struct small, symbols),
					  .sh_size = sizeof(file->symbols),
					  .sh_entsize = sizeof(file->symbols[0]),
					  .sh_link = 2 };
	file->sections[2] = (Elf64_Shdr){ .sh_type = SHT_STRTAB,
					  .sh_offset = offsetof(struct small, names),
					  .sh_size = sizeof(file->names) };
	memcpy(file->names, names, sizeof(names));
	file->symbols[1] = (Elf64_Sym){ .st_name = 1,
					.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
					.st_shndx = 1,
					.st_value = 0x10100 };
	file->symbols[2] = (Elf64_Sym){ .st_name = 10,
					.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
					.st_shndx = 1,
					.st_value = 0x103ff };
	/* what the file only uses, of another one */
	file->symbols[3] = (Elf64_Sym){ .st_name = 29,
					.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
					.st_shndx = SHN_UNDEF };
}

static int find_in(const void *bytes, size_t size, uint64_t offsets[TLS_FUNCTIONS])
{
	int fd = memfd_create("elf", MFD_CLOEXEC), n;

	assert_int_equal(write(fd, bytes, size), size);
	n = tls_symbols_find(fd, offsets);
	close(fd);
	return n;
}

static void offsets_are_of_the_segment(void **state)
{
	uint64_t offsets[TLS_FUNCTIONS];
	struct small file;

	make_small(&file);
	assert_int_equal(find_in(&file, sizeof(file), offsets), 2);
	assert_int_equal(offsets[number_of("SSL_read")], 0x100 + 64);
	assert_int_equal(offsets[number_of("gnutls_record_send")], 0x3ff + 64);
	assert_int_equal(offsets[number_of("SSL_write")], 0);
	file.symbols[1].st_value = 0x10400; /* behind it */
	file.symbols[2].st_value = 0xffff; /* before */
	assert_int_equal(find_in(&file, sizeof(file), offsets), 0);
	make_small(&file);
	file.segment.p_flags = PF_R;
	assert_int_equal(find_in(&file, sizeof(file), offsets), 0);
	make_small(&file);
	file.header.e_machine = EM_386;
	assert_int_equal(find_in(&file, sizeof(file), offsets), -ENOEXEC);
	assert_int_equal(find_in("#!/bin/sh\n", 10, offsets), -ENOEXEC);
	assert_int_equal(find_in("", 0, offsets), -ENOEXEC);
	(void)state;
}

static uint64_t bytes_read(void)
{
	FILE *file = fopen("/proc/self/io", "re");
	unsigned long long n = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "rchar: %llu", &n), 1);
	fclose(file);
	return n;
}

/* It says that it has thousands of tables, each the same hole of the file: they are not all read. */
static void holes_are_not_read_again_and_again(void **state)
{
	enum { TABLE = 8 << 20, SECTIONS = 65279 };
	struct small file;
	Elf64_Shdr *sections = calloc(SECTIONS, sizeof(*sections));
	uint64_t offsets[TLS_FUNCTIONS], before;
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_non_null(sections);
	make_small(&file);
	file.header.e_shoff = sizeof(file);
	file.header.e_shnum = SECTIONS;
	file.header.e_phnum = PN_XNUM - 1;
	for (int i = 1; i < SECTIONS; i++)
		sections[i] = (Elf64_Shdr){ .sh_type = i % 2 ? SHT_DYNSYM : SHT_SYMTAB,
					    .sh_offset = 2 * TABLE,
					    .sh_size = TABLE,
					    .sh_entsize = sizeof(Elf64_Sym),
					    .sh_link = (Elf64_Word)i };
	assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
	assert_int_equal(write(fd, sections, SECTIONS * sizeof(*sections)),
			 SECTIONS * sizeof(*sections));
	assert_int_equal(ftruncate(fd, 4 * TABLE), 0);
	before = bytes_read();
	assert_int_equal(tls_symbols_find(fd, offsets), 0);
	/* a table of each type, its names, and the headers up to them */
	assert_in_range(bytes_read() - before, 4 * TABLE, 4 * TABLE + (1 << 20));
	close(fd);
	free(sections);
	(void)state;
}

/* Whatever is wrong with it: an offset, if any, lies within what the segment says. */
static void broken_files_do_no_harm(void **state)
{
	static const uint64_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	uint64_t offsets[TLS_FUNCTIONS];
	struct small file;

	for (size_t size = 0; size < sizeof(file); size += 7) {
		make_small(&file);
		find_in(&file, size, offsets);
	}
	for (size_t at = 0; at < sizeof(file); at++)
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
			make_small(&file);
			((unsigned char *)&file)[at] = (unsigned char)values[i];
			find_in(&file, sizeof(file), offsets);
		}
	make_small(&file);
	file.sections[1].sh_size = UINT64_MAX / 2;
	assert_true(find_in(&file, sizeof(file), offsets) <= 0);
	make_small(&file);
	file.sections[2].sh_size = 12; /* the second name is cut */
	assert_int_equal(find_in(&file, sizeof(file), offsets), 1);
	(void)state;
}

/* ---- processes ---- */

/* A /proc with this program as its only process, under this number. */
static const char *make_proc(int pid, const char *mountinfo)
{
	const char *directory = temporary_directory();
	char path[256], program[256], line[1024];
	struct stat status;
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	assert_true(n > 0);
	program[n] = '\0';
	assert_int_equal(stat(program, &status), 0);
	snprintf(path, sizeof(path), "%s/%d", directory, pid);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(line, sizeof(line),
		 "1000-2000 r--p 0 %x:%x %lu %s\n2000-9000 r-xp 0 %x:%x %lu %s\n",
		 major(status.st_dev), minor(status.st_dev), (unsigned long)status.st_ino, program,
		 major(status.st_dev), minor(status.st_dev), (unsigned long)status.st_ino, program);
	write_file(path, "maps", line);
	write_file(path, "comm", "some program\n");
	snprintf(line, sizeof(line), "1 0 %u:%u / / rw - %s /dev/x rw\n", major(status.st_dev),
		 minor(status.st_dev), mountinfo);
	write_file(path, "mountinfo", line);
	snprintf(path, sizeof(path), "%s/%d/exe", directory, pid);
	assert_int_equal(symlink(program, path), 0);
	snprintf(path, sizeof(path), "%s/%d/root", directory, pid);
	assert_int_equal(symlink("/", path), 0);
	return directory;
}

static void note_gone(void *context, struct tls_library *library)
{
	assert_true(library->fd >= 0);
	++*(int *)context;
}

static void note_ended(void *context, struct tls_process *process)
{
	*(int *)context += 100;
	assert_null(process->data);
}

static void note_process(void *context, struct tls_process *process)
{
	*(struct tls_process *)context = *process;
}

#define SECOND 1000000000ULL

static void a_program_is_found_once_and_forgotten(void **state)
{
	const char *proc = make_proc(4194000, "ext4");
	struct tls_libraries *libraries = tls_libraries_new(proc);
	const struct tls_libraries_counts *counts = tls_libraries_counts(libraries);
	struct tls_process process = { 0 };
	struct tls_library *known;
	int gone = 0;
	size_t n;

	tls_libraries_on_gone(libraries, &(struct tls_libraries_gone){ .library = note_gone,
								       .process = note_ended,
								       .context = &gone });
	assert_true(tls_libraries_scan(libraries, SECOND));
	known = tls_libraries_known(libraries, &n);
	assert_int_equal(n, 1);
	assert_string_equal(known->name, "test_tls");
	assert_true(known->offsets[number_of("SSL_read")] > 0);
	assert_int_equal(counts->processes, 1);
	/* and the process, whose two mappings are of one file */
	tls_libraries_each_process(libraries, note_process, &process);
	assert_int_equal(process.pid, 4194000);
	assert_string_equal(process.name, "some program");
	assert_int_equal(process.n_files, 1);
	assert_ptr_equal(tls_libraries_find(libraries, &process.files[0]), known);
	known->state = TLS_LIBRARY_HOOKED;
	/* again after one second, then two, four … */
	for (int i = 1; i <= 15; i++)
		assert_false(tls_libraries_scan(libraries, (1 + (uint64_t)i) * SECOND));
	assert_int_equal(counts->processes, 5);
	tls_libraries_known(libraries, &n);
	assert_int_equal(n, 1);
	assert_int_equal(gone, 0);
	/* the process has ended */
	shell("rm -r %s/4194000", proc);
	tls_libraries_scan(libraries, 17 * SECOND);
	assert_int_equal(gone, 100);
	tls_libraries_scan(libraries, 300 * SECOND);
	assert_int_equal(gone, 101);
	tls_libraries_known(libraries, &n);
	assert_int_equal(n, 0);
	tls_libraries_free(libraries);
	assert_int_equal(gone, 101);
	(void)state;
}

static void files_that_may_stall_are_not_opened(void **state)
{
	struct tls_libraries *libraries = tls_libraries_new(make_proc(4194001, "fuse.evil"));

	assert_false(tls_libraries_scan(libraries, SECOND));
	assert_int_equal(tls_libraries_counts(libraries)->unreadable, 1);
	/* nor tried again and again */
	tls_libraries_scan(libraries, 3 * SECOND);
	assert_int_equal(tls_libraries_counts(libraries)->unreadable, 1);
	tls_libraries_free(libraries);
	(void)state;
}

/* Of a process that has mapped one large library after the other, two a look. */
static void large_files_wait_for_the_next_look(void **state)
{
	enum { FILES = 5, PID = 4194002 };
	const char *proc = make_proc(PID, "ext4"), *directory = temporary_directory();
	struct tls_libraries *libraries = tls_libraries_new(proc);
	char path[256], text[4096] = "", line[512];
	struct small file;
	struct stat status;
	size_t n;

	make_small(&file);
	for (int i = 0; i < FILES; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/libssl-%d.so", directory, i);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
		assert_int_equal(ftruncate(fd, 1LL << 30), 0);
		assert_int_equal(fstat(fd, &status), 0);
		close(fd);
		snprintf(line, sizeof(line), "1000-2000 r-xp 0 %x:%x %lu %s\n",
			 major(status.st_dev), minor(status.st_dev), (unsigned long)status.st_ino,
			 path);
		strcat(text, line);
	}
	snprintf(path, sizeof(path), "%s/%d", proc, PID);
	write_file(path, "maps", text);
	snprintf(line, sizeof(line), "1 0 %u:%u / / rw - ext4 /dev/x rw\n", major(status.st_dev),
		 minor(status.st_dev));
	write_file(path, "mountinfo", line);
	for (uint64_t second = 1, found = 2; second <= 4; second *= 2, found += 2) {
		tls_libraries_scan(libraries, second * SECOND);
		tls_libraries_known(libraries, &n);
		assert_int_equal(n, found < FILES ? found : FILES);
	}
	tls_libraries_free(libraries);
	(void)state;
}

/* ---- the choice ---- */

static void programs_are_allowed_by_patterns(void **state)
{
	static const struct {
		const char *patterns, *name;
		bool is_allowed;
	} cases[] = {
		{ "", "nginx", true },
		{ " , ", "nginx", true },
		{ "nginx", "nginx", true },
		{ "nginx", "nginx2", false },
		{ "curl, python3*,redis", "python3.11", true },
		{ "curl, python3*,redis", "redis", true },
		{ "curl, python3*,redis", "python2", false },
		{ "[", "[", true }, /* as fnmatch(3) has it */
		{ "a-pattern-that-is-longer-than-any-name-of-a-program-can-ever-be-in-linux*", "a",
		  false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tls_choice choice;

		tls_choice_begin(&choice, cases[i].patterns);
		assert_int_equal(tls_choice_allows(&choice, cases[i].name), cases[i].is_allowed);
		assert_false(tls_choice_leaves_out(&choice, cases[i].name));
	}
	(void)state;
}

static void those_with_the_most_calls_are_left_out(void **state)
{
	struct tls_caller callers[] = {
		{ "few", 10 }, { "many", 700 }, { "some", 100 }, { "many", 600 }, { "more", 500 },
	};
	struct tls_choice choice;

	tls_choice_begin(&choice, "");
	assert_float_equal(tls_choice_fit(&choice, callers, 5, 200), 110. / 1910, 1e-9);
	assert_true(tls_choice_leaves_out(&choice, "many"));
	assert_true(tls_choice_leaves_out(&choice, "more"));
	assert_false(tls_choice_leaves_out(&choice, "some"));
	assert_false(tls_choice_leaves_out(&choice, "few"));
	assert_false(tls_choice_leaves_out(&choice, "new"));
	/* those that are left make more than before */
	assert_float_equal(tls_choice_fit(&choice,
					  (struct tls_caller[]){ { "few", 50 }, { "some", 250 } },
					  2, 200),
			   50. / 300, 1e-9);
	assert_true(tls_choice_leaves_out(&choice, "some"));
	/* calls from before they were */
	assert_float_equal(tls_choice_fit(&choice,
					  (struct tls_caller[]){ { "few", 50 }, { "some", 250 } },
					  2, 200),
			   1, 0);
	/* nothing to be done, nothing at all */
	assert_float_equal(tls_choice_fit(&choice, (struct tls_caller[]){ { "few", 200 } }, 1, 200),
			   1, 0);
	assert_float_equal(tls_choice_fit(&choice, NULL, 0, 200), 1, 0);
	assert_false(tls_choice_leaves_out(&choice, "few"));
	assert_int_equal(choice.n_left_out, 3);
	(void)state;
}

static void more_than_can_be_named_are_all(void **state)
{
	struct tls_caller callers[2 * TLS_CHOICE_LEFT_OUT];
	struct tls_choice choice;

	for (int i = 0; i < 2 * TLS_CHOICE_LEFT_OUT; i++) {
		snprintf(callers[i].name, sizeof(callers[i].name), "program %d", i);
		callers[i].calls = 1000;
	}
	tls_choice_begin(&choice, "");
	assert_float_equal(tls_choice_fit(&choice, callers, 2 * TLS_CHOICE_LEFT_OUT, 1), 0, 0);
	assert_true(tls_choice_leaves_out(&choice, "program 1"));
	assert_true(tls_choice_leaves_out(&choice, "another"));
	tls_choice_begin(&choice, "");
	assert_false(tls_choice_leaves_out(&choice, "another"));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_are_read),
		cmocka_unit_test(libraries_are_known_by_name),
		cmocka_unit_test(filesystems_are_found),
		cmocka_unit_test(functions_of_a_program_are_found),
		cmocka_unit_test(offsets_are_of_the_segment),
		cmocka_unit_test(holes_are_not_read_again_and_again),
		cmocka_unit_test(broken_files_do_no_harm),
		HARNESS_TEST(a_program_is_found_once_and_forgotten),
		HARNESS_TEST(files_that_may_stall_are_not_opened),
		HARNESS_TEST(large_files_wait_for_the_next_look),
		cmocka_unit_test(programs_are_allowed_by_patterns),
		cmocka_unit_test(those_with_the_most_calls_are_left_out),
		cmocka_unit_test(more_than_can_be_named_are_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
