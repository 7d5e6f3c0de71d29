output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Subnets with a way in, one a zone."
  value       = [for zone in local.zones : aws_subnet.public[zone].id]
}

output "private_subnet_ids" {
  description = "Subnets with a way out only, one a zone."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]

  # A task that starts before its way out exists cannot fetch its image.
  depends_on = [aws_route.nat, aws_route_table_association.private]
}
