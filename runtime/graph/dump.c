// A graph as text, JSON or DOT (graphviz), for people and for tests.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/graph.h"

static const char *phase_name(const ig_node *n) {
  static const char *const names[] = {"forward", "backward", "update"};
  return n->recomputed ? "recompute" : names[n->phase];
}

static void dump_text(const ig_graph *g, FILE *out) {
  char shape[96];
  for (size_t k = 0; k < g->n_nodes; k++) {
    const ig_node *n = g->nodes[k];
    fprintf(out, "%4d %-9s %-24s %s (", n->id, phase_name(n), n->op->name, n->name);
    for (int i = 0; i < n->n_in; i++)
      fprintf(out, "%s%s", i ? ", " : "", n->in[i] ? n->in[i]->name : "-");
    fprintf(out, ")");
    for (int i = 0; i < n->n_out; i++)
      fprintf(out, " -> %s%s", ig_dtype_name(n->out[i]->dtype), ig_shape_text(&n->out[i]->shape, shape));
    fprintf(out, "\n");
  }
}

static json_t *tensor_json(const ig_tensor *t) {
  json_t *shape = json_array();
  for (int i = 0; i < t->shape.n; i++)
    json_array_append_new(shape, json_integer(t->shape.d[i]));
  return json_pack("{s:i, s:s, s:s, s:o}", "id", t->id, "name", t->name, "dtype", ig_dtype_name(t->dtype), "shape",
                   shape);
}

static ig_status dump_json(const ig_graph *g, FILE *out) {
  json_t *nodes = json_array();
  for (size_t k = 0; k < g->n_nodes; k++) {
    const ig_node *n = g->nodes[k];
    json_t *in = json_array(), *outs = json_array();
    for (int i = 0; i < n->n_in; i++)
      json_array_append_new(in, n->in[i] ? tensor_json(n->in[i]) : json_null());
    for (int i = 0; i < n->n_out; i++)
      json_array_append_new(outs, tensor_json(n->out[i]));
    json_array_append_new(nodes, json_pack("{s:i, s:s, s:s, s:s, s:o, s:o}", "id", n->id, "op", n->op->name, "name",
                                           n->name, "phase", phase_name(n), "in", in, "out", outs));
  }
  json_t *root = json_pack("{s:o}", "nodes", nodes);
  char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
  json_decref(root);
  if (!text)
    return ig_fail(IG_ERR_MEMORY, "graph dump: out of memory");
  fprintf(out, "%s\n", text);
  free(text);
  return IG_OK;
}

static void dump_dot(const ig_graph *g, FILE *out) {
  static const char *const colours[] = {"#dbeafe", "#fde7d3", "#dcfce7"};
  char shape[96];
  fprintf(out, "digraph ingot {\n  node [shape=box, style=filled, fontname=Helvetica];\n");
  for (size_t k = 0; k < g->n_nodes; k++) {
    const ig_node *n = g->nodes[k];
    fprintf(out, "  n%d [label=\"%s\\n%s %s\", fillcolor=\"%s\"];\n", n->id, n->name, n->op->name,
            ig_shape_text(&n->out[0]->shape, shape), colours[n->phase]);
    for (int i = 0; i < n->n_in; i++)
      if (n->in[i] && n->in[i]->producer)
        fprintf(out, "  n%d -> n%d;\n", n->in[i]->producer->id, n->id);
  }
  fprintf(out, "}\n");
}

ig_status ig_graph_dump(const ig_graph *g, ig_dump_format format, FILE *out) {
  if (format == IG_DUMP_JSON)
    IG_TRY(dump_json(g, out));
  else if (format == IG_DUMP_DOT)
    dump_dot(g, out);
  else
    dump_text(g, out);
  return ferror(out) ? ig_fail(IG_ERR_IO, "graph dump: write failed") : IG_OK;
}
