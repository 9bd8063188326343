// Documents and sentences of raw text. Rule: what is not surely the end of a sentence is none: two sentences taken for
// one cost nothing, a sentence cut at "Dr." does.
//
// An end: a run of . ! ? or their like, closing quotes and brackets, white space, and then what can start a sentence: a
// capital letter, a digit, a letter without case; small letters only in a document that has no capital at all. A single
// full stop after an initial, an abbreviation or a list's number is none. What follows decides where an abbreviation
// may end a sentence too ("in the U.S. The next"). The ends of Chinese and Japanese sentences need no white space.
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/data/corpus_internal.h"

enum { WIDEST_WRAP = 200, LONGEST_WORD = 24, FARTHEST_QUOTE = 2048 };

void ig_corpus_spans_fini(corpus_spans *s) {
  ig_free(s->items);
  ig_free(s->lines);
  memset(s, 0, sizeof *s);
}

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_upper(unsigned char c) { return c >= 'A' && c <= 'Z'; }
static bool is_lower(unsigned char c) { return c >= 'a' && c <= 'z'; }
static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static bool is_word(unsigned char c) { return is_upper(c) || is_lower(c) || is_digit(c) || c >= 0x80; }

// Length of `mark` where the text stands at it, else 0.
static size_t at_mark(const char *t, size_t n, const char *mark) {
  size_t k = strlen(mark);
  return k <= n && !memcmp(t, mark, k) ? k : 0;
}
static size_t at_any(const char *t, size_t n, const char *const *marks) {
  for (; n && *marks; marks++)
    if (at_mark(t, n, *marks))
      return strlen(*marks);
  return 0;
}

static size_t ender(const char *t, size_t n, bool *wide) {
  static const char *const wides[] = {"\u3002", "\uff01", "\uff1f", NULL};  // full stop, ! and ? of East Asia
  static const char *const others[] = {".", "!", "?", "\u2026", NULL};
  const unsigned char c = n ? (unsigned char)*t : 0;
  *wide = false;
  if (c != '.' && c != '!' && c != '?' && c < 0xE2)
    return 0;
  size_t k = at_any(t, n, wides);
  *wide = k > 0;
  return k ? k : at_any(t, n, others);
}
static size_t closer(const char *t, size_t n) {
  static const char *const marks[] = {"\"",     "'",      ")",      "]",      "}",      "\u2019",
                                      "\u201d", "\u00bb", "\u300d", "\u300f", "\uff09", NULL};
  return at_any(t, n, marks);
}
static size_t opener(const char *t, size_t n) {
  static const char *const marks[] = {"\"",     "'",      "(",      "[",      "{",      "`",
                                      "\u201c", "\u2018", "\u00ab", "\u00bf", "\u00a1", NULL};
  return at_any(t, n, marks);
}

// Small letters beyond ASCII of the scripts that have case: Latin-1, Greek, Cyrillic.
static bool is_small(const char *t, size_t n) {
  if (n < 2)
    return false;
  unsigned char a = (unsigned char)t[0], b = (unsigned char)t[1];
  unsigned c = (a & 0xE0) == 0xC0 ? (unsigned)(a & 0x1F) << 6 | (b & 0x3F) : 0;
  return (c >= 0xDF && c <= 0xFF && c != 0xF7) || (c >= 0x3AC && c <= 0x3CE) || (c >= 0x430 && c <= 0x45F);
}

static bool can_start(const char *t, size_t n, bool small) {
  for (size_t k; (k = opener(t, n)) > 0 || (n && is_space((unsigned char)*t)); t += k, n -= k)
    k = k ? k : 1;
  if (!n)
    return true;
  unsigned char c = (unsigned char)*t;
  if (is_lower(c) || (c >= 0x80 && is_small(t, n)))
    return small;
  return !strchr(",;:-)]}.!?", c);
}

static bool in_list(const char *w, size_t n, const char *const *list) {
  for (; *list; list++)
    if (strlen(*list) == n && !memcmp(w, *list, n))
      return true;
  return false;
}

// The next word is one that seldom stands within a sentence with a capital.
static bool starter_follows(const char *t, size_t n) {
  static const char *const words[] = {"The",  "A",   "An",       "He",   "She",   "It",    "They",    "We",
                                      "You",  "In",  "On",       "At",   "This",  "That",  "These",   "Those",
                                      "But",  "And", "His",      "Her",  "Its",   "Their", "There",   "When",
                                      "If",   "As",  "For",      "From", "After", "Since", "However", "While",
                                      "What", "Who", "Although", "Then", "So",    "My",    "Our",     NULL};
  size_t k = 0;
  while (n && (is_space((unsigned char)*t) || opener(t, n)))
    t++, n--;
  while (k < n && is_word((unsigned char)t[k]))
    k++;
  return in_list(t, k, words);
}

// Whether the full stop at t[i] belongs to the word before it (and the sentence goes on).
static bool is_abbreviation(const char *t, size_t from, size_t i, size_t n) {
  static const char *const never[] = {"mr",  "mrs", "ms",   "dr",     "prof", "rev",    "hon", "st",
                                      "gen", "col", "capt", "lt",     "sgt",  "maj",    "adm", "gov",
                                      "sen", "rep", "pres", "mt",     "ft",   "messrs", "vs",  "cf",
                                      "e.g", "i.e", "viz",  "approx", "mme",  "mlle",   NULL};
  static const char *const numbered[] = {"no",  "nos", "vol", "fig",  "figs", "p",   "pp",  "ch",  "sec",
                                         "art", "eq",  "ca",  "c",    "jan",  "feb", "mar", "apr", "jun",
                                         "jul", "aug", "sep", "sept", "oct",  "nov", "dec", "op",  NULL};
  static const char *const either[] = {"inc",  "ltd", "co", "corp", "jr",  "sr", "etc", "al",
                                       "dept", "est", "ed", "bros", "ave", "rd", NULL};
  char low[LONGEST_WORD];
  size_t w = i;
  while (w > from && i - w < LONGEST_WORD && (is_word((unsigned char)t[w - 1]) || t[w - 1] == '.'))
    w--;
  size_t k = i - w;
  if (k == 0 || k == LONGEST_WORD)
    return false;
  bool digits = true, dotted = false;
  for (size_t j = 0; j < k; j++) {
    unsigned char c = (unsigned char)t[w + j];
    low[j] = (char)(is_upper(c) ? c + 32 : c);
    digits = digits && (is_digit(c) || c == '.');
    dotted = dotted || (c == '.' && j + 2 == k);  // U.S, Ph.D
  }
  size_t next = i + 1;
  while (next < n && is_space((unsigned char)t[next]))
    next++;
  if (digits)
    return w == from;
  if (in_list(low, k, never))
    return true;
  if (in_list(low, k, numbered) && next < n && is_digit((unsigned char)t[next]))
    return true;
  if (k == 1 && is_upper((unsigned char)t[w]))
    return t[w] != 'I' || w == from;
  return (dotted || in_list(low, k, either)) && !starter_follows(t + i + 1, n - i - 1);
}

// A quotation mark (" or '') that stands alone, as in text whose tokens are set apart, closes where one is open.
static size_t spaced_quote(const char *t, size_t from, size_t at, size_t n) {
  size_t q = at, marks = 0;
  while (q < n && t[q] == ' ')
    q++;
  const char *mark = q < n && t[q] == '"' ? "\"" : "''";
  const size_t k = at_mark(t + q, n - q, mark);
  if (q == at || !k || (q + k < n && !is_space((unsigned char)t[q + k])))
    return 0;
  for (size_t i = at > from + FARTHEST_QUOTE ? at - FARTHEST_QUOTE : from; i < at; i++)
    marks += at_mark(t + i, at - i, mark) > 0;
  return marks % 2 ? q + k - at : 0;
}

// End of the sentence that starts at `from`.
static size_t sentence_end(const char *t, size_t from, size_t n, bool small) {
  for (size_t i = from; i < n; i++) {
    bool wide, ended_wide;
    size_t k = ender(t + i, n - i, &wide), end = i, run = 0;
    if (!k)
      continue;
    ended_wide = wide;
    for (; k; k = ender(t + end, n - end, &wide), run++)
      end += k, ended_wide = wide;
    const bool one_stop = run == 1 && t[i] == '.';
    const size_t bare = end;
    while ((k = closer(t + end, n - end)) > 0)
      end += k;
    if (end == n || ended_wide)
      return end;
    if (is_space((unsigned char)t[end])) {
      end += spaced_quote(t, from, end, n);
      if (can_start(t + end, n - end, small) && !(one_stop && end == bare && is_abbreviation(t, from, i, n)))
        return end;
    }
    i = bare - 1;
  }
  return n;
}

static ig_status add_span(corpus_spans *s, size_t at, size_t n, bool *starts) {
  IG_TRY(ig_grow(&s->items, &s->capacity, s->n, s->n + 1, sizeof *s->items, "sentences"));
  s->items[s->n++] = (corpus_span){at, n, *starts};
  *starts = false;
  return IG_OK;
}

// The sentences of text[at..end), a line or several joined ones; what has no end for long is cut at white space, or
// else before a character.
static ig_status cut_unit(const char *text, size_t at, size_t end, bool small, bool *starts, corpus_spans *out) {
  while (at < end) {
    while (at < end && is_space((unsigned char)text[at]))
      at++;
    if (at == end)
      break;
    size_t room = end - at < CORPUS_MAX_SENTENCE ? end - at : CORPUS_MAX_SENTENCE;
    size_t stop = at + room == end ? sentence_end(text, at, end, small) : sentence_end(text, at, at + room, small);
    if (stop == at + room && stop < end) {
      size_t k = stop;
      while (k > at + room / 2 && !is_space((unsigned char)text[k]))
        k--;
      if (k == at + room / 2)
        for (k = stop; k > at + 1 && ((unsigned char)text[k] & 0xC0) == 0x80;)
          k--;
      stop = k;
    }
    size_t last = stop;
    while (is_space((unsigned char)text[last - 1]))
      last--;
    IG_TRY(add_span(out, at, last - at, starts));
    at = stop;
  }
  return IG_OK;
}

static size_t characters(const char *t, size_t n) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++)
    k += ((unsigned char)t[i] & 0xC0) != 0x80;
  return k;
}

// Whether most line breaks of the document are wraps: the next line's first word would have made its line the longest.
static bool is_wrapped(const char *text, const corpus_spans *s) {
  size_t widest = 0, wraps = 0;
  for (size_t i = 0; i < s->n_lines; i++) {
    if (s->lines[i].n > 4 * WIDEST_WRAP)
      return false;
    size_t w = characters(text + s->lines[i].at, s->lines[i].n);
    widest = w > widest ? w : widest;
  }
  if (widest > WIDEST_WRAP)
    return false;
  for (size_t i = 0; i + 1 < s->n_lines; i++) {
    const char *next = text + s->lines[i + 1].at;
    size_t k = 0;
    while (k < s->lines[i + 1].n && !is_space((unsigned char)next[k]))
      k++;
    wraps += characters(text + s->lines[i].at, s->lines[i].n) + 1 + characters(next, k) > widest;
  }
  return 2 * wraps >= s->n_lines - 1;
}

static ig_status cut_document(const char *text, bool *starts, corpus_spans *s) {
  bool small = true;  // no capital letter: small ones start sentences
  for (size_t i = 0; i < s->n_lines && small; i++)
    for (size_t k = 0; k < s->lines[i].n && small; k++)
      small = !is_upper((unsigned char)text[s->lines[i].at + k]);
  if (s->n_lines > 1 && is_wrapped(text, s)) {
    const corpus_span *last = &s->lines[s->n_lines - 1];
    return cut_unit(text, s->lines[0].at, last->at + last->n, small, starts, s);
  }
  for (size_t i = 0; i < s->n_lines; i++)
    IG_TRY(cut_unit(text, s->lines[i].at, s->lines[i].at + s->lines[i].n, small, starts, s));
  return IG_OK;
}

ig_status ig_corpus_cut(const char *text, size_t n, bool new_document, corpus_spans *out) {
  bool starts = new_document;
  out->n_lines = 0;
  for (size_t at = 0; at <= n;) {
    const char *newline = at < n ? memchr(text + at, '\n', n - at) : NULL;
    size_t begin = at, end = newline ? (size_t)(newline - text) : n, next = end + 1;
    while (begin < end && is_space((unsigned char)text[begin]))
      begin++;
    while (end > begin && is_space((unsigned char)text[end - 1]))
      end--;
    if (begin < end) {
      IG_TRY(ig_grow(&out->lines, &out->lines_capacity, out->n_lines, out->n_lines + 1, sizeof *out->lines, "lines"));
      out->lines[out->n_lines++] = (corpus_span){begin, end - begin, false};
    }
    if (begin == end || next > n) {
      if (out->n_lines) {
        IG_TRY(cut_document(text, &starts, out));
        out->n_lines = 0;
        starts = true;
      } else if (begin == end && newline) {
        starts = true;  // a piece that begins with a blank line goes on with nothing
      }
    }
    at = next;
  }
  return IG_OK;
}
