"""What every room uses: errors, paths, text, output streams, a folder that is whole or absent."""
