// Mutants: one change of one PTX statement (mutate.cc).
#pragma once
#include <string>

namespace sim {
int count_mutations(const std::string &statement);
// The k-th of them; "" = the statement is dropped. what: the change in words.
std::string mutate_statement(const std::string &statement, int k, std::string *what);
}  // namespace sim
