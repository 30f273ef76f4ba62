//go:build race

package bot_test

// With the race detector a life takes five times as long and shows the same
// races each time: one crash point in five is played, the others without it.
const everyNthCrash = 5
