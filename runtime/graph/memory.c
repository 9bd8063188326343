// The arena: liveness, in-place reuse, and offsets by decreasing size. Rule: two values whose lives meet never overlap
// unless one took the other's memory over in place; ops_test and graph_test check it on every plan.
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/plan_internal.h"

#define ALIGN 256
static size_t round_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

typedef struct block {
  size_t bytes, offset;
  int first, last;
  int value;  // >= 0, else -1 - step: a workspace
} block;

static int by_size(const void *a, const void *b) {
  const block *x = a, *y = b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x->value < y->value ? -1 : 1);
}

static bool in_arena(const value *v) { return v->space == IG_SPACE_ARENA && !v->kept; }

static int root_of(const ig_plan *p, int v) {
  while (p->values[v].alias >= 0)
    v = p->values[v].alias;
  return v;
}

// What every run reads of the refreshed part stays; the rest of it lives between steps of the refresh alone.
static void find_kept(ig_plan *p) {
  for (size_t k = 0; k < p->n_steps; k++)
    for (int i = 0; !p->steps[k].is_static && i < p->steps[k].node->n_in; i++)
      if (p->steps[k].in[i] >= 0 && p->values[p->steps[k].in[i]].is_static)
        p->values[p->steps[k].in[i]].kept = true;
}

static void find_lives(ig_plan *p) {
  for (size_t k = 0; k < p->n_steps; k++) {
    const step *s = &p->steps[k];
    for (int i = 0; i < s->node->n_out; i++)
      p->values[s->out[i]].first = p->values[s->out[i]].last = (int)k;
    for (int i = 0; i < s->node->n_in; i++)
      if (s->in[i] >= 0)
        p->values[s->in[i]].last = (int)k;
  }
}

// Output i takes over an operand's memory where the row allows it, the operand dies here, and sizes agree.
static void find_in_place(ig_plan *p) {
  for (size_t k = 0; k < p->n_steps; k++) {
    const step *s = &p->steps[k];
    bool taken[s->node->n_in + 1];
    memset(taken, 0, sizeof taken);
    for (int i = 0; i < s->node->n_out && !(s->impl->flags & IG_IMPL_APART); i++) {
      int j = s->node->op->in_place[i] - 1;
      if (j < 0 || j >= s->node->n_in || s->in[j] < 0 || taken[j])
        continue;
      value *in = &p->values[s->in[j]], *out = &p->values[s->out[i]];
      value *root = &p->values[root_of(p, s->in[j])];
      bool twice = false;
      for (int m = 0; m < s->node->n_in; m++)
        twice |= m != j && s->in[m] >= 0 && root_of(p, s->in[m]) == root_of(p, s->in[j]);
      if (twice || !in_arena(in) || !in_arena(out) || in->last != (int)k || root->last != (int)k ||
          in->bytes != out->bytes || !ig_layout_equal(in->layout, out->layout))
        continue;
      out->alias = root_of(p, s->in[j]);
      root->last = out->last;
      taken[j] = true;
    }
  }
}

static void place(block *blocks, size_t n, size_t *total) {
  qsort(blocks, n, sizeof *blocks, by_size);
  *total = 0;
  for (size_t i = 0; i < n; i++) {
    // Lowest offset that is free during the block's life; blocks placed so far are few enough to scan.
    size_t offset = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t j = 0; j < i; j++)
        if (blocks[j].first <= blocks[i].last && blocks[i].first <= blocks[j].last &&
            blocks[j].offset < offset + blocks[i].bytes && offset < blocks[j].offset + blocks[j].bytes) {
          offset = blocks[j].offset + blocks[j].bytes;
          moved = true;
        }
    }
    blocks[i].offset = offset;
    if (offset + blocks[i].bytes > *total)
      *total = offset + blocks[i].bytes;
  }
}

static void find_peaks(ig_plan *p, const block *blocks, size_t n) {
  size_t fullest = 0;
  for (size_t k = 0; k < p->n_steps; k++) {
    size_t values = 0, workspace = 0;
    for (size_t i = 0; i < n; i++)
      if (blocks[i].first <= (int)k && (int)k <= blocks[i].last)
        *(blocks[i].value >= 0 ? &values : &workspace) += blocks[i].bytes;
    if (values + workspace >= fullest) {
      fullest = values + workspace;
      p->bytes.activations_peak = values;
      p->bytes.workspace_peak = workspace;
    }
  }
}

ig_status ig_plan_layout_memory(ig_plan *p) {
  block *blocks;
  size_t n = 0;
  find_kept(p);
  find_lives(p);
  find_in_place(p);
  IG_TRY(ig_alloc_array(p->n_values + p->n_steps, sizeof *blocks, "memory plan", &blocks));
  for (size_t i = 0; i < p->n_values; i++) {
    value *v = &p->values[i];
    if (v->kept) {
      v->offset = p->bytes.persistent;
      p->bytes.persistent += round_up(v->bytes);
    } else if (in_arena(v) && v->alias < 0 && v->first >= 0) {
      blocks[n++] = (block){round_up(v->bytes), 0, v->first, v->last, (int)i};
    }
  }
  for (size_t k = 0; k < p->n_steps; k++)
    if (p->steps[k].workspace_bytes)
      blocks[n++] = (block){round_up(p->steps[k].workspace_bytes), 0, (int)k, (int)k, -1 - (int)k};
  place(blocks, n, &p->bytes.arena);
  find_peaks(p, blocks, n);
  for (size_t i = 0; i < n; i++) {
    if (blocks[i].value >= 0)
      p->values[blocks[i].value].offset = blocks[i].offset;
    else
      p->steps[-1 - blocks[i].value].workspace_offset = blocks[i].offset;
  }
  for (size_t i = 0; i < p->n_values; i++)
    if (p->values[i].alias >= 0)
      p->values[i].offset = p->values[root_of(p, (int)i)].offset;
  ig_free(blocks);
  return IG_OK;
}
