package jwks

import "math/big"

// rocaPrimes are the odd primes up to 167. Keys of the vulnerable library (CVE-2017-15361) were built from primes that are a power of
// 65537 modulo every one of them, so their product is one too.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137,
	139, 149, 151, 157, 163, 167,
}

// rocaPowers[i] is the set of the powers of 65537 modulo rocaPrimes[i].
var rocaPowers = func() []map[int64]bool {
	all := make([]map[int64]bool, len(rocaPrimes))
	for i, p := range rocaPrimes {
		all[i] = map[int64]bool{}
		for power := int64(1); !all[i][power]; power = power * 65537 % p {
			all[i][power] = true
		}
	}
	return all
}()

// isROCA reports whether a modulus bears the mark of the vulnerable generator. A sound key does by chance once in about 2^27.
func isROCA(n *big.Int) bool {
	rest := new(big.Int)
	for i, p := range rocaPrimes {
		if !rocaPowers[i][rest.Mod(n, big.NewInt(p)).Int64()] {
			return false
		}
	}
	return true
}
