"""What models say of a pool: from the store, else inferred; member by member where there are several."""
