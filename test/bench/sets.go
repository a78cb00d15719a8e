package bench

// Sets are what can be measured, by name.
func Sets() map[string]func(*B) {
	return map[string]func(*B){"warm": Warm}
}
