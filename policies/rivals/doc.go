// Package rivals compares how tac judges a request with how general policy
// engines and embedded languages do: OPA, cedar-go, CEL and expr. It is a
// module of its own so that none of them weighs anything in the product.
//
// One world (world_test.go) is generated from a fixed seed and written down
// natively for every engine. A test proves that all of them, and a plain Go
// function that knows nothing of policy languages, give the same answer to
// every request; another takes their times side by side and fails where tac
// is not as much quicker as it promises to be.
//
// # What is and what is not comparable
//
// All are asked one yes or no: may this request be granted without review?
// What each does for that answer differs, and always in the rivals' favour:
//
//   - tac is given policies.Request and policies.Facts and nothing else. It
//     finds the resource, its policies, the requester and the roles by itself,
//     reads the clock in the calendar's zone, and looks at every field of every
//     condition, since its answer can be rendered as a list of all reasons. It
//     also checks the person, the ceilings and whether a review could ever
//     succeed, and says which of allow, review and deny it is.
//   - The rivals may stop at the first field that does not hold, give no
//     reasons, and leave out whatever cannot change the answer (the ceiling of
//     8h, that a requester without a role may not be in People). Their input
//     is converted before the clock starts wherever that can be done.
//   - "All reasons" means that the truth of every field is known afterwards,
//     from the request alone. For CEL and expr the host finds policy, roles
//     and wall clock within the measured time, as tac does, and asks for a sum
//     of the fields, the quickest way we found.
//   - "Yes or no" is the same without reasons. OPA has the policies as data;
//     for cedar-go, CEL and expr the host chooses the policy, and computes
//     weekday and hour in the calendar's zone.
//   - "Told all" leaves no work to the host within the measured time: policy
//     chosen, roles found, clock read, input converted. It is what the engine
//     alone costs, and the only row that is not about the same question; it is
//     reported and nothing is promised about it.
//   - Collecting the rivals' garbage is mostly not measured.
//   - Cedar has no regular expressions: its like "INC-*" is weaker than the
//     pattern of the others, and no ticket of this world tells them apart.
package rivals
