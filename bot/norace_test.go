//go:build !race

package bot_test

const everyNthCrash = 1
