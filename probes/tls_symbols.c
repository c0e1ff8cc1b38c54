// SPDX-License-Identifier: Apache-2.0
/*
 * The symbols of a file; see tls_symbols.h. Read, not mapped: a mapped file can be cut short by its owner under the reader, who
 * then dies of it.
 */
#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>
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

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define THIS_MACHINE EM_AARCH64
#endif

/* Of an address in what is executable of the file; 0: there is none. */
static uint64_t offset_of(Elf *elf, uint64_t address)
{
	size_t n = 0;

	if (elf_getphdrnum(elf, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(elf, (int)i, &header))
			return 0;
		if (header.p_type == PT_LOAD && (header.p_flags & PF_X) &&
		    address >= header.p_vaddr && address - header.p_vaddr < header.p_filesz)
			return address - header.p_vaddr + header.p_offset;
	}
	return 0;
}

static bool is_name(const Elf_Data *names, uint64_t at, const char *name)
{
	size_t size = strlen(name) + 1;

	return at < names->d_size && names->d_size - at >= size &&
	       !memcmp((const char *)names->d_buf + at, name, size);
}

/* The functions of the table begin like this: most symbols do not. */
static bool may_be_name(const Elf_Data *names, uint64_t at)
{
	const char *text = (const char *)names->d_buf + at;

	return at < names->d_size && names->d_size - at > 4 &&
	       (!memcmp(text, "SSL_", 4) || !memcmp(text, "gnut", 4));
}

static void take_symbol(Elf *elf, const Elf_Data *names, const GElf_Sym *symbol,
			uint64_t offsets[TLS_FUNCTIONS])
{
	if (symbol->st_shndx == SHN_UNDEF || GELF_ST_TYPE(symbol->st_info) != STT_FUNC ||
	    !may_be_name(names, symbol->st_name))
		return;
	for (int i = 0; i < TLS_FUNCTIONS; i++)
		if (!offsets[i] && is_name(names, symbol->st_name, tls_functions[i].symbol))
			offsets[i] = offset_of(elf, symbol->st_value);
}

/* NULL when there is none, or too much of it. */
static const Elf_Data *data_of(Elf_Scn *section)
{
	const Elf_Data *data;
	GElf_Shdr header;

	if (!section || !gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS ||
	    header.sh_size > TLS_SYMBOLS_MAX_BYTES)
		return NULL;
	data = elf_getdata(section, NULL);
	return data && data->d_buf ? data : NULL;
}

static void take_table(Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
		       uint64_t offsets[TLS_FUNCTIONS])
{
	const Elf_Data *names = data_of(elf_getscn(elf, header->sh_link));
	Elf_Data *symbols = (Elf_Data *)data_of(section);
	size_t n = symbols ? symbols->d_size / sizeof(Elf64_Sym) : 0;

	for (size_t i = 0; names && i < n; i++) {
		GElf_Sym symbol;

		if (gelf_getsym(symbols, (int)i, &symbol))
			take_symbol(elf, names, &symbol, offsets);
	}
}

static int count(const uint64_t offsets[TLS_FUNCTIONS])
{
	int n = 0;

	for (int i = 0; i < TLS_FUNCTIONS; i++)
		n += offsets[i] != 0;
	return n;
}

/* What others may call is the smaller table; the whole one is only read of a program that keeps its library to itself. */
static int find(Elf *elf, uint64_t offsets[TLS_FUNCTIONS])
{
	static const GElf_Word types[] = { SHT_DYNSYM, SHT_SYMTAB };
	GElf_Ehdr header;

	if (elf_kind(elf) != ELF_K_ELF || gelf_getclass(elf) != ELFCLASS64 ||
	    !gelf_getehdr(elf, &header) || header.e_machine != THIS_MACHINE)
		return -ENOEXEC;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && !count(offsets); i++) {
		Elf_Scn *section = NULL;

		while ((section = elf_nextscn(elf, section))) {
			GElf_Shdr section_header;

			if (gelf_getshdr(section, &section_header) &&
			    section_header.sh_type == types[i])
				take_table(elf, section, &section_header, offsets);
		}
	}
	return count(offsets);
}

int tls_symbols_find(int fd, uint64_t ret_offsets[TLS_FUNCTIONS])
{
	Elf *elf;
	int n;

	memset(ret_offsets, 0, TLS_FUNCTIONS * sizeof(ret_offsets[0]));
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOTSUP;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return -ENOEXEC;
	n = find(elf, ret_offsets);
	elf_end(elf);
	return n;
}
