// Words and sentences of the text demo. Rule: see messages.h; a choice is a Philox draw keyed by (seed, what, index).
#include "runtime/data/messages.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "runtime/base/rng.h"

enum { MACHINE, ORDER, N_DOMAINS };

static const struct {
  const char *name;
  int domain;
  const char *words[IG_MESSAGES_N_SLOTS][IG_MESSAGES_N_WORDS];
} classes[IG_MESSAGES_N_CLASSES] = {
    {"billing",
     ORDER,
     {{"billed", "charged", "invoiced", "debited", "taxed", "priced", "valued", "credited"},
      {"bills", "charges", "invoices", "fees", "surcharges", "taxes", "costs", "payments"},
      {"expensive", "costly", "unpaid", "pricey", "taxable", "exorbitant", "inflated", "unaffordable"}}},
    {"breakage",
     MACHINE,
     {{"broke", "cracked", "snapped", "shattered", "split", "burst", "ruptured", "crumbled"},
      {"fragments", "cracks", "splinters", "shards", "fissures", "debris", "slivers", "gaps"},
      {"broken", "chipped", "torn", "fractured", "mangled", "smashed", "warped", "bent"}}},
    {"delay",
     ORDER,
     {{"delayed", "postponed", "held", "deferred", "suspended", "stranded", "parked", "detained"},
      {"delays", "lateness", "waiting", "backlogs", "tardiness", "holdups", "setbacks", "lags"},
      {"late", "overdue", "slow", "belated", "tardy", "pending", "outstanding", "sluggish"}}},
    {"heat",
     MACHINE,
     {{"overheated", "smoked", "glowed", "scorched", "boiled", "burned", "melted", "smouldered"},
      {"smoke", "heat", "sparks", "flames", "steam", "soot", "embers", "fumes"},
      {"hot", "burnt", "glowing", "scalding", "charred", "blistered", "searing", "singed"}}},
    {"jam",
     MACHINE,
     {{"jammed", "seized", "blocked", "choked", "clogged", "wedged", "froze", "locked"},
      {"blockages", "jams", "scrap", "congestion", "lumps", "clumps", "obstructions", "clods"},
      {"stuck", "tight", "immovable", "stiff", "rigid", "clamped", "immobile", "trapped"}}},
    {"leak",
     MACHINE,
     {{"leaked", "dripped", "sprayed", "oozed", "seeped", "trickled", "gushed", "spilled"},
      {"oil", "drips", "puddles", "coolant", "moisture", "grease", "liquid", "water"},
      {"wet", "oily", "leaky", "damp", "soaked", "slippery", "drenched", "greasy"}}},
    {"mixup",
     ORDER,
     {{"mixed", "swapped", "confused", "mislabelled", "mistaken", "exchanged", "muddled", "interchanged"},
      {"confusion", "mixups", "swaps", "errors", "mismatches", "blunders", "discrepancies", "inaccuracies"},
      {"wrong", "incorrect", "different", "mismatched", "erroneous", "false", "unsuitable", "inexact"}}},
    {"noise",
     MACHINE,
     {{"rattled", "squeaked", "banged", "screeched", "rumbled", "clattered", "buzzed", "whined"},
      {"noise", "rattling", "squeals", "clanking", "thumps", "knocking", "humming", "grinding"},
      {"loud", "noisy", "squeaky", "deafening", "shrill", "harsh", "roaring", "audible"}}},
    {"power",
     MACHINE,
     {{"died", "tripped", "darkened", "flickered", "dimmed", "faded", "sagged", "discharged"},
      {"outages", "darkness", "blackouts", "brownouts", "dropouts", "interruptions", "dips", "surges"},
      {"dead", "dark", "powerless", "unlit", "lifeless", "inert", "blank", "unresponsive"}}},
    {"praise",
     ORDER,
     {{"praised", "liked", "admired", "appreciated", "loved", "cherished", "applauded", "commended"},
      {"praise", "joy", "thanks", "delight", "gratitude", "satisfaction", "compliments", "pleasure"},
      {"good", "excellent", "perfect", "splendid", "wonderful", "superb", "flawless", "brilliant"}}},
};

// What sentences share, whatever the intent; % and a letter stand for one of a list below. %v %n %a: a word of the
// class (what happened, what was seen, what it is like).
static const char *const frames[N_DOMAINS][6] = {
    {"the %m %v, %v and %v %t", "%w says that the %m %v and %v and is %a", "%w saw %n, %n and %n at the %d",
     "we found %n and %n at the %m and all is %a and %a", "the %d is %a, %a and %a", "the %m %v and left %n and %n"},
    {"the %o was %v, %v and %v %t", "%w says that the %o was %v and %v and is %a", "%w wrote of %n, %n and %n",
     "we noticed %n and %n with the %o and all is %a and %a", "the %o is %a, %a and %a",
     "the %o was %v and brought %n and %n"},
};
static const char *const openings[] = {"hello", "dear all", "to the service desk"};
static const char *const closings[] = {"please call back", "please tell us what to do", "this is for your records"};
static const char *const fillers[] = {"%w wrote a note about it", "%w was told %t", "nobody else was there"};

typedef struct list {
  char letter;
  const char *words[10];  // up to a NULL
} list;
static const list lists[] = {
    {'m', {"pump", "press", "lathe", "drill", "mixer"}},
    {'d', {"valve", "motor", "belt", "cable", "shaft"}},
    {'o', {"order", "parcel", "delivery", "shipment"}},
    {'t', {"this morning", "last night", "on Monday", "yesterday"}},
    {'w', {"the operator", "a customer", "a colleague", "the inspector"}},
};

const char *ig_messages_class_name(int cls) {
  return cls >= 0 && cls < IG_MESSAGES_N_CLASSES ? classes[cls].name : NULL;
}

const char *ig_messages_word(int cls, int slot, int i) {
  bool known = cls >= 0 && cls < IG_MESSAGES_N_CLASSES && slot >= 0 && slot < IG_MESSAGES_N_SLOTS && i >= 0 &&
               i < IG_MESSAGES_N_WORDS;
  return known ? classes[cls].words[slot][i] : NULL;
}

// A writer of sentences on one class with words first .. first + n - 1 of each slot.
typedef struct writer {
  ig_rng rng;
  int cls, first, n;
  unsigned used[IG_MESSAGES_N_SLOTS];  // words of this sentence, a bit each
  ig_text *out;
} writer;

static int below(writer *w, size_t n) { return (int)ig_rng_below(&w->rng, (uint32_t)n); }
#define ONE_OF(w, table) ((table)[below(w, sizeof(table) / sizeof *(table))])

// A word of a slot that the sentence does not have yet: no frame asks for more than IG_MESSAGES_N_SHOWN of a slot.
static const char *class_word(writer *w, int slot) {
  int i;
  do
    i = below(w, (size_t)w->n);
  while (w->used[slot] >> i & 1);
  w->used[slot] |= 1u << i;
  return classes[w->cls].words[slot][w->first + i];
}

static const char *fill(writer *w, char letter) {
  static const char slots[] = "vna";
  const char *slot = strchr(slots, letter);
  if (slot)
    return class_word(w, (int)(slot - slots));
  const list *l = lists;
  while (l->letter != letter)
    l++;
  size_t n = 0;
  while (n < sizeof l->words / sizeof *l->words && l->words[n])
    n++;
  return l->words[below(w, n)];
}

// A sentence after `before`, with a capital and a full stop.
static ig_status sentence(writer *w, const char *frame, const char *before) {
  IG_TRY(ig_text_addf(w->out, "%s", before));
  size_t start = w->out->n;
  memset(w->used, 0, sizeof w->used);
  for (const char *p = frame; *p; p++)
    if (*p == '%')
      IG_TRY(ig_text_addf(w->out, "%s", fill(w, *++p)));
    else
      IG_TRY(ig_text_add(w->out, p, 1));
  w->out->data[start] = (char)toupper((unsigned char)w->out->data[start]);
  return ig_text_add(w->out, ".", 1);
}

static const char *frame_of(writer *w) { return ONE_OF(w, frames[classes[w->cls].domain]); }

ig_status ig_messages_text(uint64_t seed, ig_messages_part part, int cls, uint64_t index, ig_text *out) {
  if (cls < 0 || cls >= IG_MESSAGES_N_CLASSES || (part != IG_MESSAGES_TRAIN && part != IG_MESSAGES_TEST))
    return ig_fail(IG_ERR_USAGE, "message of class %d, part %d; expected classes 0 to %d, parts 0 and 1", cls,
                   (int)part, IG_MESSAGES_N_CLASSES - 1);
  bool test = part == IG_MESSAGES_TEST;
  writer w = {
      .rng = ig_rng_make(seed, ig_hash_mix(ig_hash_str(test ? "test message" : "message"), (uint64_t)cls), index),
      .cls = cls,
      .first = test ? IG_MESSAGES_N_SHOWN : 0,
      .n = test ? IG_MESSAGES_N_WORDS - IG_MESSAGES_N_SHOWN : IG_MESSAGES_N_SHOWN,
      .out = out};
  const char *gap = "";
  if (below(&w, 2)) {
    IG_TRY(sentence(&w, ONE_OF(&w, openings), gap));
    gap = " ";
  }
  IG_TRY(sentence(&w, frame_of(&w), gap));
  if (below(&w, 2))
    IG_TRY(sentence(&w, frame_of(&w), " "));
  return below(&w, 2) ? sentence(&w, ONE_OF(&w, closings), " ") : IG_OK;
}

ig_status ig_messages_document(uint64_t seed, uint64_t index, ig_text *out) {
  writer w = {.rng = ig_rng_make(seed, ig_hash_str("document"), index), .n = IG_MESSAGES_N_WORDS, .out = out};
  w.cls = below(&w, IG_MESSAGES_N_CLASSES);
  int n = 6 + below(&w, 4), filler = 1 + below(&w, (size_t)n - 1);
  for (int i = 0; i < n; i++) {
    const char *frame = i == filler ? ONE_OF(&w, fillers) : frame_of(&w);
    if (!i && !below(&w, 4))
      frame = ONE_OF(&w, openings);
    IG_TRY(sentence(&w, frame, i ? " " : ""));
  }
  return ig_text_add(out, "\n", 1);
}
