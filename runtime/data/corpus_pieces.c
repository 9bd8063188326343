// Files cut into pieces that threads take. Rule: where a piece ends depends on the bytes and piece_bytes alone; text is
// read, not mapped, so that a file that shrinks meanwhile is an error and no crash.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/data/corpus_internal.h"
#include "runtime/data/table.h"

enum { WINDOW = 64 << 10, MAX_DEPTH = 32 };
#define DEFAULT_PIECE (4ull << 20)

void ig_corpus_plan_fini(corpus_plan *p) {
  for (size_t i = 0; i < p->n_files; i++)
    ig_free(p->files[i]);
  ig_free(p->files);
  ig_free(p->ranges);
  ig_free(p->pieces);
  ig_free(p->first_ignored);
  memset(p, 0, sizeof *p);
}

static ig_status add_file(corpus_plan *p, const char *path) {
  IG_TRY(ig_grow(&p->files, &p->files_capacity, p->n_files, p->n_files + 1, sizeof *p->files, "files of a corpus"));
  IG_TRY(ig_strdup(path, &p->files[p->n_files]));
  p->n_files++;
  return IG_OK;
}

static bool is_text(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && dot != name && !strcasecmp(dot, ".txt");
}

static ig_status list_folder(corpus_plan *p, const char *folder, int depth);

// A link that leads nowhere is one of the other files; what cannot be looked at is an error, not left out.
static ig_status look_at(const char *path, bool *is_folder) {
  struct stat st;
  char q[IG_QUOTE_BYTES];
  *is_folder = false;
  if (ig_fileops_get()->stat(path, &st) == 0)
    *is_folder = S_ISDIR(st.st_mode);
  else if (errno != ENOENT && errno != ELOOP)
    return ig_fail(IG_ERR_IO, "cannot examine %s: %s", ig_quote(q, path), strerror(errno));
  return IG_OK;
}

static ig_status list_entry(corpus_plan *p, const char *folder, const char *name, int depth) {
  ig_status status = IG_OK;
  bool is_folder = false, is_run = false;
  char *path;
  IG_TRY(ig_path_join(&path, folder, name));
  IG_GOTO(look_at(path, &is_folder));
  if (is_folder)
    IG_GOTO(ig_path_holds(path, "args.yaml", &is_run));
  if (is_run)
    goto done;  // its vocab.txt is no text to learn from
  if (is_folder)
    IG_GOTO(list_folder(p, path, depth + 1));
  else if (is_text(name))
    IG_GOTO(add_file(p, path));
  else if (p->n_ignored++ == 0)
    IG_GOTO(ig_strdup(path, &p->first_ignored));
done:
  ig_free(path);
  return status;
}

static ig_status list_folder(corpus_plan *p, const char *folder, int depth) {
  ig_status status = IG_OK;
  char q[IG_QUOTE_BYTES];
  if (depth > MAX_DEPTH)
    return ig_fail(IG_ERR_DATA, "%s: folders are nested more than %d deep, as by a link to a folder above",
                   ig_quote(q, folder), MAX_DEPTH);
  DIR *dir = opendir(folder);
  if (!dir)
    return ig_fail_open("list", folder);
  for (struct dirent *e; (errno = 0, e = readdir(dir)) != NULL;)
    if (e->d_name[0] != '.')
      IG_GOTO(list_entry(p, folder, e->d_name, depth));
  if (errno)
    status = ig_fail_open("list", folder);
done:
  closedir(dir);
  return status;
}

static int by_path(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static ig_status list_paths(const ig_corpus_options *o, corpus_plan *p) {
  char q[IG_QUOTE_BYTES], q2[IG_QUOTE_BYTES];
  for (size_t i = 0; i < o->n_paths; i++) {
    const size_t before = p->n_files;
    if (!ig_path_exists(o->paths[i]))
      return ig_fail(IG_ERR_NOT_FOUND, "%s: no such file or folder", ig_quote(q, o->paths[i]));
    if (!ig_path_is_dir(o->paths[i])) {
      IG_TRY(ig_table_refuse_as_text(o->paths[i]));
      if (!is_text(o->paths[i]))
        return ig_fail(IG_ERR_DATA, "%s: raw text is read from files named .txt only; rename it if it is such",
                       ig_quote(q, o->paths[i]));
      IG_TRY(add_file(p, o->paths[i]));
      continue;
    }
    IG_TRY(list_folder(p, o->paths[i], 0));
    if (p->n_files == before && p->n_ignored)
      return ig_fail(IG_ERR_DATA, "%s holds no .txt file (%zu other %s, the first: %s); raw text is .txt only",
                     ig_quote(q, o->paths[i]), p->n_ignored, ig_plural(p->n_ignored, "file", "files"),
                     ig_quote(q2, p->first_ignored));
    if (p->n_files == before)
      return ig_fail(IG_ERR_DATA, "%s is empty: expected .txt files", ig_quote(q, o->paths[i]));
    qsort(p->files + before, p->n_files - before, sizeof *p->files, by_path);
  }
  return IG_OK;
}

static ig_status read_at(int fd, const char *path, uint64_t at, void *to, size_t n) {
  uint8_t *p = to;
  char q[IG_QUOTE_BYTES];
  while (n) {
    ssize_t got = ig_fileops_get()->pread(fd, p, n, (off_t)at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return ig_fail(IG_ERR_IO, "cannot read %s: %s", ig_quote(q, path), strerror(errno));
    if (got == 0)
      return ig_fail(IG_ERR_DATA, "%s became shorter while it was read; start again when it is finished",
                     ig_quote(q, path));
    p += got, at += (uint64_t)got, n -= (size_t)got;
  }
  return IG_OK;
}

static ig_status open_text(const char *path, int *fd, uint64_t *bytes) {
  struct stat st;
  char q[IG_QUOTE_BYTES];
  *fd = ig_fileops_get()->open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  if (*fd < 0)
    return ig_fail_open("open", path);
  ig_status status = IG_OK;
  if (ig_fileops_get()->fstat(*fd, &st) != 0)
    status = ig_fail(IG_ERR_IO, "cannot examine %s: %s", ig_quote(q, path), strerror(errno));
  else if (!S_ISREG(st.st_mode))
    status = ig_fail(IG_ERR_DATA, "%s is no regular file", ig_quote(q, path));
  else
    *bytes = (uint64_t)st.st_size;
  if (status != IG_OK)
    ig_fileops_get()->close(*fd);
  return status;
}

// What find_cut knows while it looks at one byte after the other.
typedef struct cut_search {
  uint64_t nominal;   // where it began
  bool in_line;       // at least one whole line end was seen
  bool blank;         // the line so far is white space
  uint64_t line_end;  // behind the first newline, 0 = none yet
} cut_search;

// True where byte c at `at` ends the search; *cut is then behind it.
static bool search_step(cut_search *s, unsigned char c, uint64_t at, uint64_t piece, uint64_t *cut, bool *document) {
  if (c != '\n') {
    s->blank = s->blank && (c == ' ' || (c >= '\t' && c <= '\r'));
    return false;
  }
  *cut = at + 1;
  *document = s->in_line && s->blank;
  if (*document)
    return true;
  if (!s->line_end)
    s->line_end = at + 1;
  s->in_line = s->blank = true;
  if (at - s->nominal <= piece)
    return false;
  *cut = s->line_end;  // no blank line for a whole piece: the document goes on in the next
  return true;
}

// The end of a piece that starts before `nominal`: behind the first blank line from there on, else behind a line.
static ig_status find_cut(int fd, const char *path, uint64_t nominal, uint64_t size, uint64_t piece, uint8_t *window,
                          uint64_t *cut, bool *document) {
  cut_search s = {.nominal = nominal};
  char q[IG_QUOTE_BYTES];
  for (uint64_t at = nominal; at < size;) {
    size_t n = size - at < WINDOW ? (size_t)(size - at) : WINDOW;
    IG_TRY(read_at(fd, path, at, window, n));
    for (size_t i = 0; i < n; i++)
      if (search_step(&s, window[i], at + i, piece, cut, document))
        return IG_OK;
    at += n;
    if (!s.line_end && at - nominal > CORPUS_MAX_LINE)
      return ig_fail(IG_ERR_DATA,
                     "%s has a line of more than %d MiB (at byte %llu); this is no text, or lacks its line breaks",
                     ig_quote(q, path), CORPUS_MAX_LINE >> 20, (unsigned long long)nominal);
  }
  *cut = size;
  *document = true;
  return IG_OK;
}

static ig_status add_range(corpus_plan *p, uint64_t piece, const char *path, uint64_t at, uint64_t end, bool document) {
  corpus_piece *last = p->n_pieces ? &p->pieces[p->n_pieces - 1] : NULL;
  if (!last || last->bytes >= piece) {
    IG_TRY(ig_grow(&p->pieces, &p->pieces_capacity, p->n_pieces, p->n_pieces + 1, sizeof *p->pieces,
                   "pieces of a corpus"));
    last = &p->pieces[p->n_pieces++];
    *last = (corpus_piece){.first = p->n_ranges};
  }
  IG_TRY(
      ig_grow(&p->ranges, &p->ranges_capacity, p->n_ranges, p->n_ranges + 1, sizeof *p->ranges, "pieces of a corpus"));
  p->ranges[p->n_ranges++] = (corpus_range){path, at, end - at, document};
  last->n++;
  last->bytes += end - at;
  p->text_bytes += end - at;
  return IG_OK;
}

static ig_status plan_file(corpus_plan *p, const char *path, uint64_t piece, uint8_t *window) {
  ig_status status = IG_OK;
  int fd;
  uint64_t size = 0, at = 0;
  bool document = true;
  char q[IG_QUOTE_BYTES];
  IG_TRY(open_text(path, &fd, &size));
  uint8_t mark[3] = {0};
  IG_GOTO(read_at(fd, path, 0, mark, size < 3 ? (size_t)size : 3));
  if ((mark[0] == 0xFF && mark[1] == 0xFE) || (mark[0] == 0xFE && mark[1] == 0xFF))
    IG_GOTO(
        ig_fail(IG_ERR_DATA, "%s is UTF-16; expected UTF-8: convert it (iconv -f UTF-16 -t UTF-8)", ig_quote(q, path)));
  if (mark[0] == 0xEF && mark[1] == 0xBB && mark[2] == 0xBF)
    at = 3;  // a byte order mark is no text
  while (at < size) {
    uint64_t cut = size;
    bool next = true;
    if (size - at > piece + piece / 2)
      IG_GOTO(find_cut(fd, path, at + piece, size, piece, window, &cut, &next));
    IG_GOTO(add_range(p, piece, path, at, cut, document));
    at = cut;
    document = next;
  }
done:
  ig_fileops_get()->close(fd);
  return status;
}

ig_status ig_corpus_plan(const ig_corpus_options *o, corpus_plan *p) {
  ig_status status = IG_OK;
  uint8_t *window = NULL;
  const uint64_t piece = o->piece_bytes ? o->piece_bytes : DEFAULT_PIECE;
  if (piece > CORPUS_MAX_LINE)
    return ig_fail(IG_ERR_USAGE, "corpus: piece_bytes=%llu; at most %d", (unsigned long long)piece, CORPUS_MAX_LINE);
  IG_TRY(list_paths(o, p));
  IG_TRY(ig_alloc(WINDOW, "text", &window));
  for (size_t i = 0; i < p->n_files; i++)
    IG_GOTO(plan_file(p, p->files[i], piece, window));
done:
  ig_free(window);
  return status;
}

ig_status ig_corpus_piece_read(const corpus_plan *p, size_t piece, uint8_t **buffer, size_t *capacity) {
  const corpus_piece *at = &p->pieces[piece];
  size_t used = 0;
  IG_TRY(ig_grow(buffer, capacity, 0, (size_t)at->bytes + 1, 1, "text"));
  for (size_t i = at->first; i < at->first + at->n; i++) {
    const corpus_range *r = &p->ranges[i];
    int fd;
    uint64_t bytes = 0;
    IG_TRY(open_text(r->path, &fd, &bytes));
    ig_status status = read_at(fd, r->path, r->at, *buffer + used, (size_t)r->bytes);
    ig_fileops_get()->close(fd);
    IG_TRY(status);
    used += (size_t)r->bytes;
  }
  return IG_OK;
}
