// The vocabulary in memory and vocab.txt. Rule: ids are lines from 0; a token stands once, is UTF-8, and has one id.
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/tokenizer/internal.h"

enum { MAX_ID = 1 << 22, MAX_VOCAB_BYTES = 64 << 20 };

ig_status ig_tokenizer_new(const char *path, ig_tokenizer **out) {
  ig_status status = IG_OK;
  ig_tokenizer *t;
  IG_TRY(ig_alloc(sizeof *t, "a tokenizer", &t));
  t->flags = (ig_normalizer_flags){.clean = true, .cjk = true, .strip = true, .lower = true};
  t->has_normalizer = t->has_decoder = t->cleanup = true;
  t->max_chars = 100;
  t->unk = t->pad = t->cls = t->sep = t->mask = -1;
  IG_GOTO(ig_strdup(path, &t->path));
  IG_GOTO(ig_strdup("##", &t->prefix));
  IG_GOTO(ig_strdup("[UNK]", &t->unk_token));
  *out = t;
  return IG_OK;
done:
  ig_tokenizer_close(t);
  return status;
}

static bool valid_utf8(const char *text) {
  while (*text) {
    size_t n = ig_utf8_length(text);
    if (!n)
      return false;
    text += n;
  }
  return true;
}

// Makes id one of the tokens; t->tokens[id] stays NULL.
static ig_status make_room(ig_tokenizer *t, int32_t id) {
  if ((size_t)id < t->n_tokens)
    return IG_OK;
  IG_TRY(ig_grow(&t->tokens, &t->tokens_capacity, t->n_tokens, (size_t)id + 1, sizeof *t->tokens, "a vocabulary"));
  memset(t->tokens + t->n_tokens, 0, ((size_t)id + 1 - t->n_tokens) * sizeof *t->tokens);
  t->n_tokens = (size_t)id + 1;
  return IG_OK;
}

static ig_status take_id(ig_tokenizer *t, const char *token, int32_t id) {
  char quoted[IG_QUOTE_BYTES], other[IG_QUOTE_BYTES];
  if (id < 0 || id >= MAX_ID)
    return ig_fail(IG_ERR_FORMAT, "token %s has id %d; ids are 0 to %d", ig_quote(quoted, token), id, MAX_ID - 1);
  if (!valid_utf8(token))
    return ig_fail(IG_ERR_FORMAT, "token %s (id %d) is not UTF-8", ig_quote(quoted, token), id);
  IG_TRY(make_room(t, id));
  if (t->tokens[id])
    return ig_fail(IG_ERR_FORMAT, "id %d is of two tokens, %s and %s", id, ig_quote(other, t->tokens[id]),
                   ig_quote(quoted, token));
  return ig_strdup(token, &t->tokens[id]);
}

ig_status ig_vocab_add(ig_tokenizer *t, const char *token, int32_t id) {
  char quoted[IG_QUOTE_BYTES];
  int32_t was = IG_TRIE_NONE;
  IG_TRY(take_id(t, token, id));
  if (*token)  // an empty line has an id and is never found in a text
    IG_TRY(ig_trie_add(&t->vocabulary, token, strlen(token), id, &was));
  if (was != IG_TRIE_NONE)
    return ig_fail(IG_ERR_FORMAT, "token %s stands twice, with ids %d and %d", ig_quote(quoted, token), was, id);
  t->n_vocabulary++;
  return IG_OK;
}

ig_status ig_vocab_add_special(ig_tokenizer *t, const ig_added *added) {
  char quoted[IG_QUOTE_BYTES];
  const size_t n = strlen(added->content);
  const int32_t known = ig_trie_find(&t->vocabulary, added->content, n);
  int32_t was;
  if (!n)
    return ig_fail(IG_ERR_FORMAT, "an added token (id %d) has no text", added->id);
  if (known >= 0 && known != added->id)
    return ig_fail(IG_ERR_FORMAT, "added token %s has id %d, and %d in the vocabulary",
                   ig_quote(quoted, added->content), added->id, known);
  IG_TRY(ig_trie_add(&t->added_names, added->content, n, added->id, &was));
  if (was != IG_TRIE_NONE)
    return ig_fail(IG_ERR_FORMAT, "added token %s stands twice", ig_quote(quoted, added->content));
  if (known < 0)
    IG_TRY(take_id(t, added->content, added->id));
  IG_TRY(ig_grow(&t->added, &t->added_capacity, t->n_added, t->n_added + 1, sizeof *t->added, "added tokens"));
  t->added[t->n_added] = *added;
  t->added[t->n_added].content = NULL;
  IG_TRY(ig_strdup(added->content, &t->added[t->n_added++].content));
  return IG_OK;
}

ig_status ig_vocab_read(const char *path, ig_tokenizer *t) {
  ig_status status = IG_OK;
  uint8_t *data = NULL;
  size_t n;
  IG_TRY(ig_file_read(path, MAX_VOCAB_BYTES, &data, &n));
  if (n == 0)
    IG_GOTO(ig_fail(IG_ERR_FORMAT, "%s is empty; a vocabulary with a token a line is expected", path));
  if (n >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
    IG_GOTO(ig_fail(IG_ERR_FORMAT,
                    "%s starts with a byte-order mark, which would be part of its first token: save it "
                    "as UTF-8 without one",
                    path));
  int32_t line = 0;
  for (char *p = (char *)data, *end = p + n; p < end; line++) {
    char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
    stop = stop ? stop : end;
    if (memchr(p, 0, (size_t)(stop - p)))
      IG_GOTO(
          ig_fail(IG_ERR_FORMAT, "%s: line %d holds a zero byte; text is expected, a token a line", path, line + 1));
    if (stop > p && stop[-1] == '\r')
      stop--;
    *stop = 0;
    if ((status = ig_vocab_add(t, p, line)) != IG_OK) {
      status = ig_fail_prefix(status, "%s: line %d", path, line + 1);
      goto done;
    }
    p = next;
  }
done:
  ig_free(data);
  return status;
}

ig_status ig_template_add(ig_template *p, int sequence, int32_t id, uint8_t type) {
  IG_TRY(ig_grow(&p->pieces, &p->capacity, p->n, p->n + 1, sizeof *p->pieces, "a post-processor"));
  p->pieces[p->n++] = (ig_piece){sequence, id, type};
  p->n_special += sequence < 0;
  return IG_OK;
}

ig_status ig_template_bert(ig_tokenizer *t, int32_t cls, int32_t sep) {
  for (int pair = 0; pair < 2; pair++) {
    ig_template *p = pair ? &t->pair : &t->single;
    if (cls >= 0)
      IG_TRY(ig_template_add(p, -1, cls, 0));
    IG_TRY(ig_template_add(p, 0, 0, 0));
    if (sep >= 0)
      IG_TRY(ig_template_add(p, -1, sep, 0));
    if (pair)
      IG_TRY(ig_template_add(p, 1, 0, 1));
    if (pair && sep >= 0)
      IG_TRY(ig_template_add(p, -1, sep, 1));
  }
  return IG_OK;
}
