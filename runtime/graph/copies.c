// 16-bit weights as a flat buffer of their own. Rule: this only takes casts out of a graph, made and cloned by who
// knows nothing of it.
#include <string.h>

#include "runtime/graph/graph.h"

static bool is_cast(const ig_graph *g, const ig_node *n) {
  const ig_tensor *w = n->n_in == 1 ? n->in[0] : NULL, *copy = n->out[0];
  return w && w->param && w->space == IG_SPACE_TRAINABLE && !strcmp(n->op->name, "reorder") &&
         copy->space == IG_SPACE_ARENA && copy->dtype == g->options.compute_dtype && ig_dtype_bytes(copy->dtype) == 2;
}

int ig_graph_read_copies(ig_graph *g) {
  size_t kept = 0;
  for (size_t k = 0; k < g->n_nodes; k++) {
    ig_node *n = g->nodes[k];
    if (is_cast(g, n)) {
      n->out[0]->space = IG_SPACE_TRAINABLE16;
      n->out[0]->param = n->in[0]->param;
      n->out[0]->producer = NULL;
    } else {
      n->id = (int)kept;
      g->nodes[kept++] = n;
    }
  }
  const int casts = (int)(g->n_nodes - kept);
  g->n_nodes = kept;
  return casts;
}
