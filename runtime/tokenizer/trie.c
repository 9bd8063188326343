// Byte strings to numbers. Rule: one walk finds the longest key that a text starts with; see internal.h.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

static void link_edge(ig_trie *t, uint32_t key, uint32_t to) {
  uint32_t i = ig_trie_slot(t, key);
  while (t->edges[i].to)
    i = (i + 1) & t->mask;
  t->edges[i] = (ig_trie_edge){key, to};
}

// Room for `nodes` nodes: edges are at most half of the slots.
static ig_status reserve(ig_trie *t, size_t nodes) {
  if (t->edges && nodes * 2 <= (size_t)t->mask + 1)
    return IG_OK;
  size_t slots = t->edges ? 2 * ((size_t)t->mask + 1) : 64, old_slots = t->edges ? (size_t)t->mask + 1 : 0;
  while (nodes * 2 > slots)
    slots *= 2;
  ig_trie_edge *old = t->edges, *grown;
  IG_TRY(ig_alloc_array(slots, sizeof *grown, "a trie of tokens", &grown));
  t->edges = grown;
  t->mask = (uint32_t)(slots - 1);
  for (size_t i = 0; i < old_slots; i++)
    if (old[i].to)
      link_edge(t, old[i].key, old[i].to);
  ig_free(old);
  return IG_OK;
}

static ig_status add_node(ig_trie *t, uint32_t *out) {
  if (t->n_nodes == IG_TRIE_MAX_NODES)
    return ig_fail(IG_ERR_UNSUPPORTED, "the tokens' texts are too long together: at most %d bytes are taken",
                   (int)IG_TRIE_MAX_NODES);
  IG_TRY(ig_grow(&t->values, &t->nodes_capacity, t->n_nodes, t->n_nodes + 1, sizeof *t->values, "a trie of tokens"));
  IG_TRY(reserve(t, t->n_nodes + 1));
  t->values[t->n_nodes] = IG_TRIE_NONE;
  *out = (uint32_t)t->n_nodes++;
  return IG_OK;
}

ig_status ig_trie_add(ig_trie *t, const char *key, size_t n, int32_t value, int32_t *was) {
  uint32_t node = 0;
  if (!t->n_nodes)
    IG_TRY(add_node(t, &node));  // the root
  for (size_t i = 0; i < n; i++) {
    uint32_t next = ig_trie_step(t, node, (uint8_t)key[i]);
    if (!next) {
      IG_TRY(add_node(t, &next));
      link_edge(t, node << 8 | (uint8_t)key[i], next);
    }
    node = next;
  }
  *was = t->values[node];
  if (*was == IG_TRIE_NONE)
    t->values[node] = value;
  return IG_OK;
}

int32_t ig_trie_find(const ig_trie *t, const char *key, size_t n) {
  uint32_t node = 0;
  if (!t->n_nodes || !n)
    return IG_TRIE_NONE;
  for (size_t i = 0; i < n; i++) {
    node = ig_trie_step(t, node, (uint8_t)key[i]);
    if (!node)
      return IG_TRIE_NONE;
  }
  return t->values[node];
}

void ig_trie_fini(ig_trie *t) {
  ig_free(t->edges);
  ig_free(t->values);
}
