// Fixed parts of the batch and their fixed tree. Rule: which thread computes a part never matters, because a part is
// computed by one thread with memory of its own.
#include "kernels/dnnl_common/dnnl_parts.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

enum {
  DEFAULT_SHARDS = 8,
  MOST_SUM_BYTES = 16 << 20,
  CHUNK = 512  // floats; a chunk of 8 summands stays in the first-level cache
};

struct ig_dnnl_parts {
  int n_parts, threads, n_ids;
  int64_t samples;
  ig_dnnl_part_use use[IG_DNNL_MAX_PART_IDS];
  size_t sample_bytes[IG_DNNL_MAX_PART_IDS];
  ig_dnnl_primitive primitives[2];         // of samples / n_parts, and of one more
  ig_dnnl_args *args;                      // one a part
  size_t sum_bytes[IG_DNNL_MAX_PART_IDS];  // of one part's summand, rounded up; 0 for operands of other use
  size_t sum_count[IG_DNNL_MAX_PART_IDS];  // floats
  size_t scratch_bytes;                    // a thread's
};

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }
static int64_t first_of(const ig_dnnl_parts *p, int part) { return part * p->samples / p->n_parts; }
static int64_t length_of(const ig_dnnl_parts *p, int part) { return first_of(p, part + 1) - first_of(p, part); }

int ig_dnnl_sum_parts(int64_t samples, int shards, size_t sum_bytes) {
  int64_t n = shards < 1 ? DEFAULT_SHARDS : shards, per_shard = samples / n, split = 1;
  while (split < 8 && 2 * split <= per_shard && 2 * (size_t)split * DEFAULT_SHARDS * sum_bytes <= MOST_SUM_BYTES)
    split *= 2;
  n *= split;
  return (int)(n < samples ? n : samples < 1 ? 1 : samples);
}

// One of the two sizes: its primitive, and the arguments of all parts of that size.
static ig_status create_size(ig_dnnl_parts *p, const ig_dnnl_parts_options *o, dnnl_engine_t engine, int which) {
  int64_t samples = p->samples / p->n_parts + which;
  dnnl_primitive_desc_t pd = NULL;
  ig_status status = IG_OK;
  for (int i = 0; i < p->n_parts; i++) {
    if (length_of(p, i) != samples)
      continue;
    if (!pd) {
      IG_GOTO(o->make(o->user, engine, samples, &pd));
      IG_GOTO(ig_dnnl_primitive_init(pd, &p->primitives[which]));
      for (int k = 0; k < o->n_ids; k++) {
        if (o->use[k] != IG_DNNL_SUM)
          continue;
        size_t bytes = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, o->ids[k]));
        if (p->sum_count[k] && p->sum_count[k] != bytes / sizeof(float))
          IG_GOTO(ig_fail(IG_ERR_INTERNAL, "parts of %lld samples have another result layout", (long long)samples));
        p->sum_count[k] = bytes / sizeof(float);
        p->sum_bytes[k] = round_up(bytes);
      }
    }
    IG_GOTO(ig_dnnl_args_init(engine, pd, o->n_ids, o->ids, &p->args[i]));
  }
done:
  if (pd)
    dnnl_primitive_desc_destroy(pd);
  return status;
}

ig_status ig_dnnl_parts_create(const ig_dnnl_parts_options *o, ig_dnnl_parts **out) {
  ig_dnnl_parts *p;
  dnnl_engine_t engine;
  *out = NULL;
  IG_TRY(ig_dnnl_engine(o->caps, &engine));
  IG_TRY(ig_alloc(sizeof *p, "batch parts", &p));
  int saved = ig_dnnl_enter(1);
  ig_status status = IG_OK;
  p->n_parts = o->n_parts;
  p->threads = o->caps->threads < o->n_parts ? o->caps->threads : o->n_parts;
  p->n_ids = o->n_ids;
  p->samples = o->samples;
  memcpy(p->use, o->use, sizeof p->use);
  memcpy(p->sample_bytes, o->sample_bytes, sizeof p->sample_bytes);
  IG_GOTO(ig_alloc_array((size_t)p->n_parts, sizeof *p->args, "batch parts", &p->args));
  for (int which = 0; which < 2; which++) {
    IG_GOTO(create_size(p, o, engine, which));
    size_t bytes = round_up(p->primitives[which].scratch_bytes);
    p->scratch_bytes = bytes > p->scratch_bytes ? bytes : p->scratch_bytes;
  }
  *out = p;
done:
  ig_dnnl_leave(saved);
  if (status != IG_OK)
    ig_dnnl_parts_destroy(p);
  return status;
}

void ig_dnnl_parts_destroy(ig_dnnl_parts *p) {
  if (!p)
    return;
  for (int i = 0; p->args && i < p->n_parts; i++)
    ig_dnnl_args_fini(&p->args[i]);
  for (int i = 0; i < 2; i++)
    ig_dnnl_primitive_fini(&p->primitives[i]);
  ig_free(p->args);
  ig_free(p);
}

size_t ig_dnnl_parts_workspace(const ig_dnnl_parts *p) {
  size_t bytes = (size_t)p->threads * p->scratch_bytes;
  for (int k = 0; k < p->n_ids; k++)
    bytes += (size_t)p->n_parts * p->sum_bytes[k];
  return bytes;
}

// out[0..count) = tree sum of the parts' arrays, `stride` bytes apart: ((p0+p1)+(p2+p3))+...
static void add_tree(const ig_dnnl_parts *p, char *partial, size_t stride, size_t count, float *out) {
#pragma omp parallel for num_threads(p->threads) schedule(static)
  for (size_t from = 0; from < count; from += CHUNK) {
    size_t n = count - from < CHUNK ? count - from : CHUNK;
    for (int step = 1; step < p->n_parts; step *= 2)
      for (int i = 0; i + step < p->n_parts; i += 2 * step) {
        float *a = (float *)(partial + (size_t)i * stride) + from;
        const float *b = (const float *)(partial + (size_t)(i + step) * stride) + from;
        for (size_t j = 0; j < n; j++)
          a[j] += b[j];
      }
    memcpy(out + from, (const float *)partial + from, n * sizeof(float));
  }
}

// Links of part i by the calling thread. sums: of each operand that is summed, NULL in a chain.
static ig_status run_part(const ig_dnnl_link *links, int n_links, int i, char *const *sums, char *scratch) {
  for (int j = 0; j < n_links; j++) {
    const ig_dnnl_parts *p = links[j].parts;
    void *at[IG_DNNL_MAX_PART_IDS];
    for (int k = 0; k < p->n_ids; k++)
      at[k] = p->use[k] == IG_DNNL_SUM ? sums[k] + (size_t)i * p->sum_bytes[k]
                                       : (char *)links[j].data[k] + (size_t)first_of(p, i) * p->sample_bytes[k];
    int which = length_of(p, i) > p->samples / p->n_parts;
    IG_TRY(ig_dnnl_run(&p->primitives[which], &p->args[i], at, scratch));
  }
  return IG_OK;
}

static ig_status run_all(const ig_dnnl_link *links, int n_links, char *const *sums, char *scratch,
                         size_t scratch_bytes) {
  const ig_dnnl_parts *p = links[0].parts;
  ig_status failed = IG_OK;
  char message[512] = "";
#pragma omp parallel for num_threads(p->threads) schedule(dynamic, 1)
  for (int i = 0; i < p->n_parts; i++) {
    ig_status status = run_part(links, n_links, i, sums, scratch + (size_t)omp_get_thread_num() * scratch_bytes);
    if (status != IG_OK) {
#pragma omp critical(ig_dnnl_parts_failed)
      {
        failed = status;
        snprintf(message, sizeof message, "%s", ig_error_message());
      }
    }
  }
  return failed == IG_OK ? IG_OK : ig_fail(failed, "%s", message);
}

ig_status ig_dnnl_parts_run(ig_dnnl_parts *p, void *const *data, void *workspace) {
  ig_dnnl_link link = {.parts = p};
  char *sums[IG_DNNL_MAX_PART_IDS], *scratch = workspace;
  for (int k = 0; k < p->n_ids; k++) {
    link.data[k] = data[k];
    sums[k] = scratch;
    scratch += (size_t)p->n_parts * p->sum_bytes[k];
  }
  // Within the region oneDNN finds itself in parallel and stays in the calling thread; a team of one needs the setting.
  int saved = ig_dnnl_enter(p->threads);
  ig_status status = run_all(&link, 1, sums, scratch, p->scratch_bytes);
  for (int k = 0; status == IG_OK && k < p->n_ids; k++)
    if (p->use[k] == IG_DNNL_SUM)
      add_tree(p, sums[k], p->sum_bytes[k], p->sum_count[k], data[k]);
  ig_dnnl_leave(saved);
  return status;
}

ig_status ig_dnnl_parts_run_chain(const ig_dnnl_link *links, int n_links, void *workspace) {
  size_t scratch_bytes = 0;
  for (int j = 0; j < n_links; j++)
    scratch_bytes = links[j].parts->scratch_bytes > scratch_bytes ? links[j].parts->scratch_bytes : scratch_bytes;
  int saved = ig_dnnl_enter(links[0].parts->threads);
  ig_status status = run_all(links, n_links, NULL, workspace, scratch_bytes);
  ig_dnnl_leave(saved);
  return status;
}
