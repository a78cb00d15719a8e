package response

// AtMost is as much as a value can take when it is encoded.
var AtMost = atMost

// MostDetails bounds the details of an outcome.
const MostDetails = mostDetails

// Signs are what texts with credentials have.
func Signs() []string {
	var all []string
	for _, c := range credentials {
		all = append(all, c.signs...)
	}
	return all
}

// MayHave says whether a text is searched for a sign.
func MayHave(text, sign string) bool {
	var p pairs
	p.add(text)
	return p.all(sign)
}

// Remembered is how many outcomes a function remembers, and in how many bytes.
func (f *Function) Remembered() (records, bytes int) {
	f.recent.mu.Lock()
	defer f.recent.mu.Unlock()
	for e := f.recent.order.Front(); e != nil; e = e.Next() {
		if m, ok := e.Value.(*remembered); ok {
			bytes += m.size
		}
	}
	if bytes != f.recent.bytes || len(f.recent.byKey) != f.recent.order.Len() {
		return -1, -1
	}
	return f.recent.order.Len(), bytes
}
