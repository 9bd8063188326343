// The parent's side of reading a stranger's HDF5 file. Rule: see h5_foreign.h; every number of the child is checked.
#include "runtime/ckpt/h5_foreign.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"
#include "runtime/ckpt/h5_foreign_internal.h"
#include "runtime/ckpt/h5_internal.h"

static ig_status broken(const char *path) {
  return ig_fail(IG_ERR_FORMAT, "%s: the process that read it broke its own rules: the file attacks its reader", path);
}

static ig_status add_item(const char *path, const ig_h5_record *r, uint64_t room, ig_h5_foreign *f) {
  const char *name = (const char *)(r + 1), *attribute = name + r->path_bytes, *data = (const char *)r + r->data_at;
  uint64_t names = (uint64_t)r->path_bytes + r->attribute_bytes, element = r->dtype == IG_F64 ? 8 : 4, n = 1;
  const bool numbers = r->dtype != -1;
  if (r->bytes > room || r->bytes % 64 || r->data_at % 64 || r->data_at > r->bytes ||
      r->data_bytes > r->bytes - r->data_at || sizeof *r + names > r->data_at || !r->path_bytes ||
      name[r->path_bytes - 1] || (r->attribute_bytes && attribute[r->attribute_bytes - 1]) || r->n_dims < 0 ||
      r->n_dims > IG_CKPT_MAX_DIMS || (numbers && r->dtype != IG_F32 && r->dtype != IG_F64 && r->dtype != IG_I32) ||
      (r->is_float && (!numbers || r->dtype == IG_I32)))
    return broken(path);
  ig_h5_foreign_item *item = &f->items[f->n];
  *item = (ig_h5_foreign_item){.path = name, .n_dims = r->n_dims, .is_float = r->is_float != 0};
  for (int i = 0; i < r->n_dims; i++) {
    item->dims[i] = r->dims[i];
    if (r->dims[i] < 0 || __builtin_mul_overflow(n, (uint64_t)r->dims[i], &n) || n > INT64_MAX / 8)
      return broken(path);
  }
  item->n = (int64_t)n;
  if (r->attribute_bytes) {
    if (!r->data_bytes || data[r->data_bytes - 1])
      return broken(path);
    item->attribute = attribute;
    item->text = data;
  } else if (numbers) {
    if (r->data_bytes != n * element)
      return broken(path);
    item->dtype = (ig_dtype)r->dtype;
    item->data = data;
  }
  f->n++;
  return IG_OK;
}

static ig_status take_records(const char *path, ig_h5_foreign *f) {
  const ig_h5_head *h = f->memory;
  uint64_t at = ig_h5_round(sizeof *h), end = h->used;
  size_t capacity = 0;
  if (end > f->memory_bytes)
    return broken(path);
  while (at < end) {
    if (end - at < sizeof(ig_h5_record))
      return broken(path);
    const ig_h5_record *r = (const ig_h5_record *)((const char *)f->memory + at);
    IG_TRY(ig_grow(&f->items, &capacity, f->n, f->n + 1, sizeof *f->items, "table of tensors"));
    IG_TRY(add_item(path, r, end - at, f));
    at += r->bytes;
  }
  return IG_OK;
}

// How the child ended, in words.
static ig_status outcome(const char *path, const ig_h5_head *h, int how) {
  if (WIFEXITED(how) && WEXITSTATUS(how) == 0 && h->status == IG_OK)
    return IG_OK;
  if (WIFEXITED(how) && WEXITSTATUS(how) == 1 && h->status != IG_OK && h->message[0] &&
      h->message[sizeof h->message - 1] == 0)
    return ig_fail(IG_ERR_FORMAT, "%s", h->message);
  if (WIFSIGNALED(how) && (WTERMSIG(how) == SIGXCPU || WTERMSIG(how) == SIGKILL))
    return ig_fail(IG_ERR_FORMAT, "%s: reading it takes too long; the file is damaged, or made to do so", path);
  return ig_fail(IG_ERR_FORMAT, "%s: libhdf5 crashed on it (%s); the file is damaged, or made to do so", path,
                 WIFSIGNALED(how) ? strsignal(WTERMSIG(how)) : "it ended without a word");
}

ig_status ig_h5_foreign_read(const char *path, const void *data, size_t bytes, const char *const *attributes,
                             ig_h5_foreign *out) {
  return ig_h5_foreign_read_with(path, data, bytes, &(ig_h5_foreign_options){.attributes = attributes}, out);
}

ig_status ig_h5_foreign_read_with(const char *path, const void *data, size_t bytes, const ig_h5_foreign_options *o,
                                  ig_h5_foreign *out) {
  ig_status status = IG_OK;
  ig_h5_section s;
  memset(out, 0, sizeof *out);
  // Narrow floats double, and every object rounds up to 64 bytes.
  out->memory_bytes = (o->unpacked_bytes ? o->unpacked_bytes : 2 * bytes) + IG_H5_SLACK;
  IG_TRY(ig_alloc_shared(out->memory_bytes, "what a child process reads", &out->memory));
  ig_h5_head *h = out->memory;
  *h = (ig_h5_head){.used = ig_h5_round(sizeof *h), .status = -1};
  ig_h5_child c = {.file = path,
                   .o = o,
                   .head = h,
                   .capacity = out->memory_bytes,
                   .room = o->unpacked_bytes ? o->unpacked_bytes : bytes};
  ig_h5_begin(&s);  // so that no other thread is inside of libhdf5 when it is copied
  pid_t pid = fork();
  if (pid == 0)
    ig_h5_be_child(&c, data, bytes);
  ig_h5_end(&s);
  int how = 0;
  if (pid < 0)
    IG_GOTO(ig_fail(IG_ERR_IO, "%s: no process to read it in: %s", path, strerror(errno)));
  while (waitpid(pid, &how, 0) < 0)
    if (errno != EINTR)
      IG_GOTO(ig_fail(IG_ERR_IO, "%s: the process that read it is lost: %s", path, strerror(errno)));
  IG_GOTO(outcome(path, h, how));
  IG_GOTO(take_records(path, out));
  return IG_OK;
done:
  ig_h5_foreign_fini(out);
  return status;
}

void ig_h5_foreign_fini(ig_h5_foreign *f) {
  ig_free(f->items);
  ig_free_pages(f->memory, f->memory_bytes);
  memset(f, 0, sizeof *f);
}
