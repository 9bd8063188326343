// Ids back to text. Rule: as Hugging Face's WordPiece decoder: pieces join, other tokens follow a space, and the
// clean-up is done token by token.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

// In this order.
static const struct {
  const char *from, *to;
} clean_ups[] = {{" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
                 {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

static ig_status replace_all(ig_text *text, const char *from, const char *to) {
  ig_status status = IG_OK;
  ig_text out = {0};
  const char *p = text->data, *found = strstr(p, from);
  if (!found)
    return IG_OK;
  for (; found; found = strstr(p, from)) {
    IG_GOTO(ig_text_add(&out, p, (size_t)(found - p)));
    IG_GOTO(ig_text_add(&out, to, strlen(to)));
    p = found + strlen(from);
  }
  IG_GOTO(ig_text_add(&out, p, strlen(p)));
  ig_free(text->data);
  *text = out;
  return IG_OK;
done:
  ig_free(out.data);
  return status;
}

static ig_status add_token(const ig_tokenizer *t, const char *token, bool first, ig_text *one, ig_text *out) {
  const size_t prefix = strlen(t->prefix);
  one->n = 0;
  if (!first && !(t->has_decoder && !strncmp(token, t->prefix, prefix)))
    IG_TRY(ig_text_add(one, " ", 1));
  else if (!first)
    token += prefix;
  IG_TRY(ig_text_add(one, token, strlen(token)));
  for (size_t i = 0; t->has_decoder && t->cleanup && i < sizeof clean_ups / sizeof *clean_ups; i++)
    IG_TRY(replace_all(one, clean_ups[i].from, clean_ups[i].to));
  return ig_text_add(out, one->data, one->n);
}

ig_status ig_tokenizer_decode(const ig_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **text) {
  ig_status status = IG_OK;
  ig_text out = {0}, one = {0};
  bool first = true;
  *text = NULL;
  IG_GOTO(ig_text_add(&out, "", 0));
  for (size_t i = 0; i < n; i++) {
    const char *token = ig_tokenizer_token(t, ids[i]);
    if (!token)
      IG_GOTO(ig_fail(IG_ERR_DATA, "id %d (number %zu) is of no token; %s has ids 0 to %zu", ids[i], i + 1, t->path,
                      t->n_tokens - 1));
    if (skip_special && t->is_special[ids[i]])
      continue;
    IG_GOTO(add_token(t, token, first, &one, &out));
    first = false;
  }
  *text = out.data;
  out.data = NULL;
done:
  ig_free(out.data);
  ig_free(one.data);
  return status;
}
