package bench

// Sets are what can be measured, by name.
func Sets() map[string]func(*B) {
	sets := map[string]func(*B){}
	for _, c := range changes() {
		sets["warm/"+c.function] = c.warm
	}
	return sets
}
