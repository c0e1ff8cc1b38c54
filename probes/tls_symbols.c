// SPDX-License-Identifier: Apache-2.0
/*
 * The symbols of a file; see tls_symbols.h. Read, not mapped: a mapped file can be cut short by its owner under the reader, who
 * then dies of it. And read here, not by libelf, which believes a file: of one that is mostly holes it reads and keeps
 * as many headers and tables as that says it has.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "bpf/tls.h"
#include "probes/tls_symbols.h"

/* OpenSSL 1.1, 3 and what is like it; GnuTLS. */
const struct tls_function tls_functions[TLS_FUNCTIONS] = {
	{ "SSL_do_handshake", TLS_SHAKES_HANDS }, /* SSL_accept() and SSL_connect() end up there */
	{ "SSL_read", TLS_READS },
	{ "SSL_write", TLS_WRITES },
	{ "SSL_read_ex", TLS_READS | TLS_COUNTED },
	{ "SSL_write_ex", TLS_WRITES | TLS_COUNTED },
	{ "SSL_read_early_data", TLS_READS | TLS_COUNTED },
	{ "SSL_write_early_data", TLS_WRITES | TLS_COUNTED },
	{ "gnutls_handshake", TLS_SHAKES_HANDS },
	{ "gnutls_record_recv", TLS_READS },
	{ "gnutls_record_recv_seq", TLS_READS },
	{ "gnutls_record_send", TLS_WRITES },
	{ "gnutls_record_send2", TLS_WRITES },
};

/* More than linkers make; what comes after is not looked at. */
#define MAX_SECTIONS	4096
#define MAX_SEGMENTS	256
#define MAX_EXECUTABLE	8
#define SYMBOLS_AT_ONCE 128

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define THIS_MACHINE EM_AARCH64
#endif

struct executable {
	int fd;
	uint64_t size;
	Elf64_Ehdr header;
	Elf64_Phdr segments[MAX_EXECUTABLE]; /* what is executable of it */
	unsigned n_segments;
};

/* ---- reading ---- */

static bool read_at(const struct executable *file, void *bytes, size_t size, uint64_t at)
{
	size_t done = 0;

	if (size > file->size || at > file->size - size)
		return false;
	while (done < size) {
		ssize_t n = pread(file->fd, (char *)bytes + done, size - done, (off_t)(at + done));

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool read_section(const struct executable *file, unsigned i, Elf64_Shdr *ret_section)
{
	return i < file->header.e_shnum && read_at(file, ret_section, sizeof(*ret_section),
						   file->header.e_shoff + i * sizeof(*ret_section));
}

/* A file has one table of each type at most. */
static bool find_section(const struct executable *file, uint32_t type, Elf64_Shdr *ret_section)
{
	for (unsigned i = 1; i < MAX_SECTIONS && read_section(file, i, ret_section); i++)
		if (ret_section->sh_type == type)
			return true;
	return false;
}

static int open_executable(int fd, struct executable *ret_file)
{
	Elf64_Ehdr *header = &ret_file->header;
	struct stat status;

	*ret_file = (struct executable){ .fd = fd };
	if (fstat(fd, &status))
		return -errno;
	ret_file->size = (uint64_t)status.st_size;
	if (!read_at(ret_file, header, sizeof(*header), 0) ||
	    memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != THIS_MACHINE || header->e_phentsize != sizeof(Elf64_Phdr) ||
	    header->e_shentsize != sizeof(Elf64_Shdr))
		return -ENOEXEC;
	for (unsigned i = 0; i < header->e_phnum && i < MAX_SEGMENTS; i++) {
		Elf64_Phdr *segment = &ret_file->segments[ret_file->n_segments];

		if (ret_file->n_segments == MAX_EXECUTABLE ||
		    !read_at(ret_file, segment, sizeof(*segment),
			     header->e_phoff + i * sizeof(*segment)))
			break;
		ret_file->n_segments += segment->p_type == PT_LOAD && (segment->p_flags & PF_X);
	}
	return 0;
}

/* ---- symbols ---- */

/* Of an address in what is executable of the file; 0: there is none. */
static uint64_t offset_of(const struct executable *file, uint64_t address)
{
	for (unsigned i = 0; i < file->n_segments; i++) {
		const Elf64_Phdr *segment = &file->segments[i];

		if (address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz)
			return address - segment->p_vaddr + segment->p_offset;
	}
	return 0;
}

struct names {
	char *text;
	uint64_t size;
};

static bool is_name(const struct names *names, uint64_t at, const char *name)
{
	size_t size = strlen(name) + 1;

	return at < names->size && names->size - at >= size &&
	       !memcmp(names->text + at, name, size);
}

/* The functions of the table begin like this: most symbols do not. */
static bool may_be_name(const struct names *names, uint64_t at)
{
	return at < names->size && names->size - at > 4 &&
	       (!memcmp(names->text + at, "SSL_", 4) || !memcmp(names->text + at, "gnut", 4));
}

static void take_symbol(const struct executable *file, const struct names *names,
			const Elf64_Sym *symbol, uint64_t offsets[TLS_FUNCTIONS])
{
	if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC ||
	    !may_be_name(names, symbol->st_name))
		return;
	for (int i = 0; i < TLS_FUNCTIONS; i++)
		if (!offsets[i] && is_name(names, symbol->st_name, tls_functions[i].symbol))
			offsets[i] = offset_of(file, symbol->st_value);
}

/* -ENOENT when there are none, or too many. */
static int read_names(const struct executable *file, uint32_t section, struct names *ret_names)
{
	Elf64_Shdr header;
	char *text;

	if (!read_section(file, section, &header) || header.sh_type == SHT_NOBITS ||
	    header.sh_size > TLS_SYMBOLS_MAX_BYTES || header.sh_size > file->size)
		return -ENOENT;
	text = malloc(header.sh_size + 1);
	if (!text)
		return -ENOMEM;
	if (!read_at(file, text, header.sh_size, header.sh_offset)) {
		free(text);
		return -ENOENT;
	}
	*ret_names = (struct names){ text, header.sh_size };
	return 0;
}

static int count(const uint64_t offsets[TLS_FUNCTIONS])
{
	int n = 0;

	for (int i = 0; i < TLS_FUNCTIONS; i++)
		n += offsets[i] != 0;
	return n;
}

/* Returns how many of the functions there are. */
static int take_table(const struct executable *file, uint32_t type, uint64_t offsets[TLS_FUNCTIONS])
{
	Elf64_Sym symbols[SYMBOLS_AT_ONCE];
	struct names names;
	Elf64_Shdr table;
	int err;

	if (!find_section(file, type, &table) || table.sh_size > TLS_SYMBOLS_MAX_BYTES)
		return 0;
	err = read_names(file, table.sh_link, &names);
	if (err)
		return err == -ENOENT ? 0 : err;
	for (uint64_t at = 0, n; (n = (table.sh_size - at) / sizeof(symbols[0])); at += n) {
		if (n > SYMBOLS_AT_ONCE)
			n = SYMBOLS_AT_ONCE;
		if (!read_at(file, symbols, n * sizeof(symbols[0]), table.sh_offset + at))
			break;
		for (unsigned i = 0; i < n; i++)
			take_symbol(file, &names, &symbols[i], offsets);
		n *= sizeof(symbols[0]);
	}
	free(names.text);
	return count(offsets);
}

int tls_symbols_find(int fd, uint64_t ret_offsets[TLS_FUNCTIONS])
{
	struct executable file;
	int n = open_executable(fd, &file);

	memset(ret_offsets, 0, TLS_FUNCTIONS * sizeof(ret_offsets[0]));
	if (n)
		return n;
	/* what others may call is the smaller table; the whole one is only read of a program that keeps its library to itself */
	n = take_table(&file, SHT_DYNSYM, ret_offsets);
	return n ? n : take_table(&file, SHT_SYMTAB, ret_offsets);
}
