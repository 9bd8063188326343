// completion: scripts of the shells. Rule: words come from the table of keys.
#include <string.h>

#include "bindings/c/call.h"
#include "models/model.h"
#include "runtime/base/mem.h"

// The keys of a verb as "name=" words.
static ig_status add_keys(ig_text *t, size_t verb) {
  for (size_t i = 0; i < ig_keys.n_keys; i++)
    if (ig_keys.keys[i].verbs >> verb & 1)
      IG_TRY(ig_text_addf(t, " %s=", ig_keys.keys[i].name));
  return IG_OK;
}

// Values of keys that are one of a few words, of switches and of model=; bare words of a shell's `case`.
static ig_status add_choices(ig_text *t, const char *indent) {
  for (size_t i = 0; i < ig_keys.n_keys; i++) {
    const ig_key *key = &ig_keys.keys[i];
    bool model = !strcmp(key->name, "model");
    const char *words = key->type == IG_KEY_ENUM ? key->choices : key->type == IG_KEY_BOOL ? "0|1" : "";
    if (!*words && !model)
      continue;
    IG_TRY(ig_text_addf(t, "%s%s) list=\"", indent, key->name));
    for (; *words; words++)
      IG_TRY(ig_text_addf(t, "%c", *words == '|' ? ' ' : *words));
    for (size_t m = 0; model && ig_models[m]; m++)
      IG_TRY(ig_text_addf(t, "%s%s", m ? " " : "", ig_models[m]->name));
    IG_TRY(ig_text_addf(t, "\" ;;\n"));
  }
  return IG_OK;
}

// "a|b|c": switches, which need no value after --name.
static ig_status add_switches(ig_text *t) {
  bool some = false;
  for (size_t i = 0; i < ig_keys.n_keys; i++)
    if (ig_keys.keys[i].type == IG_KEY_BOOL) {
      IG_TRY(ig_text_addf(t, "%s%s", some ? "|" : "", ig_keys.keys[i].name));
      some = true;
    }
  return IG_OK;
}

static ig_status add_verbs(ig_text *t) {
  for (size_t v = 0; v < ig_keys.n_verbs; v++)
    IG_TRY(ig_text_addf(t, "%s%s", v ? " " : "", ig_keys.verbs[v]));
  return IG_OK;
}

static ig_status add_verb_words(ig_text *t, const char *indent) {
  for (size_t v = 0; v < ig_keys.n_verbs; v++) {
    IG_TRY(ig_text_addf(t, "%s%s) list=\"", indent, ig_keys.verbs[v]));
    if (v == IG_VERB_CHECKPOINT)
      IG_TRY(ig_text_addf(t, "list verify show"));
    if (v == IG_VERB_DATA)
      IG_TRY(ig_text_addf(t, "shard"));
    if (v == IG_VERB_DEMO)
      IG_TRY(ig_text_addf(t, "text"));
    if (v == IG_VERB_TOKENIZER)
      IG_TRY(ig_text_addf(t, "train encode decode"));
    if (v == IG_VERB_BENCH)
      IG_TRY(ig_text_addf(t, "kernels step loader tokenizer"));
    if (v == IG_VERB_COMPLETION)
      IG_TRY(ig_text_addf(t, "bash zsh"));
    if (v == IG_VERB_KEYS || v == IG_VERB_HELP)
      IG_TRY(add_verbs(t));
    IG_TRY(add_keys(t, v));
    IG_TRY(ig_text_addf(t, "\" ;;\n"));
  }
  return IG_OK;
}

static ig_status write_bash(ig_text *t) {
  IG_TRY(
      ig_text_addf(t,
                   "# Completion of ingot: source <(ingot completion bash)\n"
                   "_ingot_files() {  # a name with spaces is one answer; the shell quotes it and ends folders by /\n"
                   "  compopt -o filenames +o nospace\n"
                   "  mapfile -t COMPREPLY < <(compgen -f -- \"$1\")\n"
                   "}\n"
                   "_ingot() {\n"
                   "  local cur=${COMP_WORDS[COMP_CWORD]} key= list=\n"
                   "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
                   "    COMPREPLY=($(compgen -W \""));
  IG_TRY(add_verbs(t));
  IG_TRY(ig_text_addf(t,
                      "\" -- \"$cur\"))\n"
                      "    return\n"
                      "  fi\n"
                      "  # bash splits key=value at the sign\n"
                      "  if [[ $cur == '=' ]]; then key=${COMP_WORDS[COMP_CWORD-1]}; cur=\n"
                      "  elif [[ ${COMP_WORDS[COMP_CWORD-1]} == '=' ]]; then key=${COMP_WORDS[COMP_CWORD-2]}\n"
                      "  elif [[ ${COMP_WORDS[COMP_CWORD-1]} == --* ]]; then\n"
                      "    key=${COMP_WORDS[COMP_CWORD-1]}\n"
                      "    case ${key#--} in "));
  IG_TRY(add_switches(t));
  IG_TRY(ig_text_addf(t,
                      ") key= ;; esac\n"
                      "  fi\n"
                      "  key=${key#--}\n"
                      "  if [[ -n $key ]]; then\n"
                      "    case $key in\n"));
  IG_TRY(add_choices(t, "      "));
  IG_TRY(ig_text_addf(t,
                      "      *) _ingot_files \"$cur\"; return ;;\n"
                      "    esac\n"
                      "    COMPREPLY=($(compgen -W \"$list\" -- \"$cur\"))\n"
                      "    return\n"
                      "  fi\n"
                      "  case ${COMP_WORDS[1]} in\n"));
  IG_TRY(add_verb_words(t, "    "));
  return ig_text_addf(t,
                      "  esac\n"
                      "  if [[ $cur == --* ]]; then\n"
                      "    local word options=\n"
                      "    for word in $list; do [[ $word != *= ]] || options+=\" --${word%%=}\"; done\n"
                      "    COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
                      "    return\n"
                      "  fi\n"
                      "  COMPREPLY=($(compgen -W \"$list\" -- \"$cur\"))\n"
                      "  [[ -n ${COMPREPLY[*]} ]] || { _ingot_files \"$cur\"; return; }\n"
                      "  compopt -o nospace\n"
                      "  mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
                      "}\n"
                      "complete -F _ingot ingot\n");
}

static ig_status write_zsh(ig_text *t) {
  IG_TRY(ig_text_addf(t,
                      "#compdef ingot\n"
                      "# Completion of ingot: source <(ingot completion zsh)\n"
                      "_ingot() {\n"
                      "  local key= list=\n"
                      "  if (( CURRENT == 2 )); then\n"
                      "    compadd "));
  IG_TRY(add_verbs(t));
  IG_TRY(ig_text_addf(t,
                      "\n"
                      "    return\n"
                      "  fi\n"
                      "  local verb=$words[2] current=$words[CURRENT] before=$words[CURRENT-1] word\n"
                      "  if [[ $current == *=* ]]; then\n"
                      "    key=${${current%%%%=*}#--}\n"
                      "    compset -P '*='\n"
                      "  elif [[ $before == --* && $before != *=* ]]; then\n"
                      "    key=${before#--}\n"
                      "    case $key in "));
  IG_TRY(add_switches(t));
  IG_TRY(ig_text_addf(t,
                      ") key= ;; esac\n"
                      "  fi\n"
                      "  if [[ -n $key ]]; then\n"
                      "    case $key in\n"));
  IG_TRY(add_choices(t, "      "));
  IG_TRY(ig_text_addf(t,
                      "      *) _files; return ;;\n"
                      "    esac\n"
                      "    compadd -- ${=list}\n"
                      "    return\n"
                      "  fi\n"
                      "  case $verb in\n"));
  IG_TRY(add_verb_words(t, "    "));
  return ig_text_addf(t,
                      "  esac\n"
                      "  if [[ $current == --* ]]; then\n"
                      "    for word in ${=list}; do [[ $word != *= ]] || compadd -- --${word%%=}; done\n"
                      "    return\n"
                      "  fi\n"
                      "  compadd -S '' -- ${=list}\n"
                      "  _files\n"
                      "}\n"
                      "compdef _ingot ingot\n");
}

ig_status ig_verb_completion(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_text text = {0};
  json_t *object = NULL;
  char quoted[IG_QUOTE_BYTES];
  IG_TRY(ig_want_paths(c, 1, 1));
  const char *shell = ig_config_path(c->config, 0);
  if (!strcmp(shell, "bash"))
    IG_GOTO(write_bash(&text));
  else if (!strcmp(shell, "zsh"))
    IG_GOTO(write_zsh(&text));
  else
    return ig_fail(IG_ERR_USAGE, "completion: there is none for %s; bash and zsh have one", ig_quote(quoted, shell));
  object = json_pack("{s:s, s:s}", "shell", shell, "script", text.data);
  status = object ? ig_answer(c, object, text.data) : ig_no_json();
done:
  json_decref(object);
  ig_free(text.data);
  return status;
}
